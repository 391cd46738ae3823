"""Check the two sides of parallel texts, copy them to a folder and print how many pairs each has."""

import argparse
import re
import sys
from itertools import zip_longest
from pathlib import Path

from tqdm import tqdm

# White space and control characters: what leaves no token.
BLANK = re.compile(r"[\s\x00-\x1f]*")
SHOWN = 5


def text_of(line: bytes, number: int, file: Path) -> str:
    """Return the line as text; exits with the file and the line where it is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        sys.exit(
            f"{file.name}: line {number} is not UTF-8 (byte {line[error.start]:#04x} at position {error.start + 1})"
        )


def check(one: Path, two: Path, out_dir: Path, limit: int | None) -> int:
    """Check both files, copy their first `limit` lines (None: all) and return how many pairs that were.

    Lines end at "\\n" alone. Every line must be UTF-8 and hold more than white space, and both sides must have
    equally many; the copy's lines end in "\\n" where the file has "\\r\\n". Exits with one line where that fails.
    """
    files = (one, two)
    counts = [0, 0]
    empty: tuple[list[int], list[int]] = ([], [])
    size = one.stat().st_size
    with (
        one.open("rb") as source_one,
        two.open("rb") as source_two,
        (out_dir / one.name).open("wb") as target_one,
        (out_dir / two.name).open("wb") as target_two,
        tqdm(desc=one.stem, total=size, unit="B", unit_scale=True, leave=False, disable=None, delay=2) as bar,
    ):
        targets = (target_one, target_two)
        for number, lines in enumerate(zip_longest(source_one, source_two, fillvalue=b""), start=1):
            for side, line in enumerate(lines):
                if not line:
                    continue
                counts[side] = number
                if BLANK.fullmatch(text_of(line, number, files[side])):
                    empty[side].append(number)
                if limit is None or number <= limit:
                    targets[side].write(line.rstrip(b"\r\n") + b"\n")
            bar.update(len(lines[0]))
    for file, count in zip(files, counts, strict=True):
        if count == 0:
            sys.exit(f"{file.name}: the file is empty")
    if counts[0] != counts[1]:
        longer, shorter = (one, two) if counts[0] > counts[1] else (two, one)
        sys.exit(
            f"the sides differ in length: {longer.name} has {max(counts)} lines, {shorter.name} has {min(counts)}"
            f" (none to match line {min(counts) + 1} and after)"
        )
    for file, numbers in zip(files, empty, strict=True):
        if numbers:
            more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
            sys.exit(f"{file.name}: nothing on line {', '.join(map(str, numbers[:SHOWN]))}{more}")
    if limit is not None and limit > counts[0]:
        sys.exit(f"{one.name} has {counts[0]} lines, fewer than the {limit} asked for")
    return limit or counts[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prefixes", type=Path, nargs="+", metavar="PREFIX", help="the files without .LANG")
    parser.add_argument("--langs", nargs=2, required=True, metavar="LANG")
    parser.add_argument("--out-dir", type=Path, required=True)
    parser.add_argument("--lines", type=int, help="copy the first N lines of each (default: all)")
    args = parser.parse_args()
    for prefix in args.prefixes:
        one, two = (prefix.with_name(f"{prefix.name}.{lang}") for lang in args.langs)
        print(f"{prefix.name}: {check(one, two, args.out_dir, args.lines)} pairs")


if __name__ == "__main__":
    main()
