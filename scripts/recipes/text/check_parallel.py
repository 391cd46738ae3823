"""Check the two sides of parallel texts, copy them to a folder and print how many pairs each has."""

import re
import sys
from pathlib import Path

from recipes.cli import Parser, positive
from recipes.text.parallel import BOM, Sides, pairs, side

# White space and control characters: what leaves no token.
BLANK = re.compile(r"[\s\x00-\x1f]*")
SHOWN = 5


def check(
    prefix: Path,
    langs: list[str],
    out_dir: Path,
    limit: int | None,
    *,
    drop_empty: bool = False,
    drop_bom: bool = False,
) -> None:
    """Check both files, copy their first `limit` pairs (None: all) and print how many pairs that were.

    Exits with one line where a line holds no more than white space, or a NUL, or where `pairs` does.

    Args:
        drop_empty: leave out pairs with a line of no more than white space, and print how many.
        drop_bom: leave out a byte order mark at the start of a file, and print that.
    """
    empty: tuple[list[int], list[int]] = ([], [])
    number = found = 0
    with Sides(out_dir, prefix.name, langs) as target:
        for number, pair in enumerate(pairs(prefix, langs), start=1):
            if number == 1 and drop_bom:
                for lang, line in zip(langs, pair, strict=True):
                    if line.startswith(BOM):
                        print(f"{side(prefix, lang).name}: the byte order mark at its start is left out")
                pair = pair[0].removeprefix(BOM), pair[1].removeprefix(BOM)
            blank = any(BLANK.fullmatch(line) for line in pair)
            for lang, numbers, line in zip(langs, empty, pair, strict=True):
                if "\0" in line:
                    sys.exit(f"{side(prefix, lang).name}: line {number} holds a NUL byte: is it UTF-8?")
                if blank and BLANK.fullmatch(line):
                    numbers.append(number)
            if not blank:
                found += 1
                if limit is None or found <= limit:
                    target.write(pair)
    for lang, numbers in zip(langs, empty, strict=True):
        if numbers and not drop_empty:
            more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
            sys.exit(f"{side(prefix, lang).name}: nothing on line {', '.join(map(str, numbers[:SHOWN]))}{more}")
    if not found:
        sys.exit(f"{prefix.name}: none of its {number} pairs has text on both sides")
    if limit is not None and limit > found:
        what = "lines" if found == number else "pairs with text on both sides"
        sys.exit(f"{side(prefix, langs[0]).name} has {found} {what}, fewer than the {limit} asked for")
    remark = "" if found == number else f"; {number - found} of {number} left out, for they had nothing on a side"
    print(f"{prefix.name}: {target.count} pairs{remark}")


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("prefixes", type=Path, nargs="+", metavar="PREFIX", help="the files without .LANG")
    parser.add_argument("--langs", nargs=2, required=True, metavar="LANG")
    parser.add_argument("--out-dir", type=Path, required=True)
    parser.add_argument("--lines", type=positive, help="copy the first N lines of each (default: all)")
    parser.add_argument("--drop-empty", action="store_true", help="leave out pairs with nothing on a side")
    parser.add_argument("--drop-bom", action="store_true", help="leave out a byte order mark at the start of a file")
    args = parser.parse_args()
    for prefix in args.prefixes:
        check(prefix, args.langs, args.out_dir, args.lines, drop_empty=args.drop_empty, drop_bom=args.drop_bom)


if __name__ == "__main__":
    main()
