"""Check the two sides of parallel texts, copy them to a folder and print how many pairs each has."""

import argparse
import re
import sys
from pathlib import Path

from parallel import Sides, pairs, side

# White space and control characters: what leaves no token.
BLANK = re.compile(r"[\s\x00-\x1f]*")
SHOWN = 5


def check(prefix: Path, langs: list[str], out_dir: Path, limit: int | None) -> int:
    """Check both files, copy their first `limit` lines (None: all) and return how many pairs that were.

    Every line must hold more than white space. Exits with one line where that fails, or what `pairs` asks for.
    """
    empty: tuple[list[int], list[int]] = ([], [])
    number = 0
    with Sides(out_dir, prefix.name, langs) as target:
        for number, pair in enumerate(pairs(prefix, langs), start=1):
            for numbers, line in zip(empty, pair, strict=True):
                if BLANK.fullmatch(line):
                    numbers.append(number)
            if limit is None or number <= limit:
                target.write(pair)
    for lang, numbers in zip(langs, empty, strict=True):
        if numbers:
            more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
            sys.exit(f"{side(prefix, lang).name}: nothing on line {', '.join(map(str, numbers[:SHOWN]))}{more}")
    if limit is not None and limit > number:
        sys.exit(f"{side(prefix, langs[0]).name} has {number} lines, fewer than the {limit} asked for")
    return target.count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prefixes", type=Path, nargs="+", metavar="PREFIX", help="the files without .LANG")
    parser.add_argument("--langs", nargs=2, required=True, metavar="LANG")
    parser.add_argument("--out-dir", type=Path, required=True)
    parser.add_argument("--lines", type=int, help="copy the first N lines of each (default: all)")
    args = parser.parse_args()
    for prefix in args.prefixes:
        print(f"{prefix.name}: {check(prefix, args.langs, args.out_dir, args.lines)} pairs")


if __name__ == "__main__":
    main()
