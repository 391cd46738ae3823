"""Two files whose lines belong together, read pair by pair, checked, copied and joined."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from operator import itemgetter
from pathlib import Path

from recipes.files import progress
from recipes.text.markup import MARKED_UP, segments, talks

BOM = "\ufeff"  # the byte order mark that some programs write at the start of a text
# White space and control characters: a line of these alone has no token.
BLANK = re.compile(r"[\s\x00-\x1f]*")
SHOWN = 5  # line numbers in an error


def side(prefix: Path, lang: str) -> Path:
    """Return the file of one language, PREFIX.LANG."""
    return prefix.with_name(f"{prefix.name}.{lang}")


def text_of(line: bytes, number: int, file: Path) -> str:
    """Return a line as text. Exit with the name of the file and the line's number if it is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        where = f"byte {line[error.start]:#04x} at position {error.start + 1}"
        sys.exit(f"{file.name}: line {number} is not UTF-8 ({where})")


def pairs(
    prefix: Path, langs: Sequence[str], *, notes: Iterable[str] = (), repair: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield the pairs of lines of PREFIX.LANG for both languages, without line ends, in constant memory.

    Lines end at "\\n" or "\\r\\n" alone. Exit with one line if a file is empty, if the files differ in length, or if a
    line is not UTF-8.

    Args:
        prefix: the path of both files without .LANG. If it ends in .xml or .sgm, they are a test set with `<seg id=`.
        notes: if there are any, the files are IWSLT's train.tags, and lines that hold one of these are left out.
        repair: replace bytes that are not UTF-8 by U+FFFD, and print at the end how many lines held such bytes.
    """
    files = [side(prefix, lang) for lang in langs]
    counts, broken = [0, 0], 0

    def lines_of(number: int) -> Iterator[str]:
        nonlocal broken
        for count, line in enumerate(sources[number], start=1):
            if number == 0:
                bar.update(len(line))
            if repair:
                text = line.decode(errors="replace")
                broken += "\ufffd" in text and "\ufffd".encode() not in line
            else:
                text = text_of(line, count, files[number])
            yield text.rstrip("\r\n")

    def sentences(number: int) -> Iterator[str]:
        if prefix.suffix in MARKED_UP:
            return segments(lines_of(number), files[number])
        return talks(lines_of(number), notes) if notes else lines_of(number)

    with ExitStack() as stack:
        sources = [stack.enter_context(file.open("rb")) for file in files]
        bar = stack.enter_context(progress(prefix.name, files[0].stat().st_size))
        for first, second in zip_longest(sentences(0), sentences(1)):
            counts[0] += first is not None
            counts[1] += second is not None
            if first is not None and second is not None:
                yield first, second
    names = [file.name for file in files]
    (less, shorter), (more, longer) = sorted(zip(counts, names, strict=True), key=itemgetter(0))
    if less == 0:
        sys.exit(f"{shorter}: the file is empty")
    if less != more:
        lengths = f"{longer} has {more} lines, {shorter} has {less}"
        sys.exit(f"the sides differ in length: {lengths} (none to match line {less + 1} and after)")
    if broken:
        print(f"{prefix.name}: {broken} lines were not UTF-8; the bytes that were not are now U+FFFD")


class Sides(ExitStack):
    """The files NAME.LANG of both languages in a folder, to which `count` pairs of lines were written."""

    def __init__(self, folder: Path, name: str, langs: Iterable[str]) -> None:
        super().__init__()
        paths = [side(folder / name, lang) for lang in langs]
        self._files = [self.enter_context(path.open("w", encoding="utf-8", newline="\n")) for path in paths]
        self.count = 0

    def write(self, pair: Iterable[str]) -> None:
        """Write a line to each side."""
        self.count += 1
        for file, line in zip(self._files, pair, strict=True):
            file.write(f"{line}\n")


def check(
    prefix: Path,
    langs: Sequence[str],
    out_dir: Path,
    limit: int | None = None,
    *,
    drop_empty: bool = False,
    drop_bom: bool = False,
) -> None:
    """Check both files PREFIX.LANG, copy their first `limit` pairs and print how many pairs that were.

    Exit with one line if a line holds no more than white space, if one holds a NUL byte, if there are fewer pairs than
    `limit`, or where `pairs` does.

    Args:
        drop_empty: leave out the pairs of which a line holds no more than white space, and print how many.
        drop_bom: leave out a byte order mark at the start of a file, and print that.
    """
    empty: dict[str, list[int]] = {lang: [] for lang in langs}
    number = found = 0
    with Sides(out_dir, prefix.name, langs) as target:
        for number, pair in enumerate(pairs(prefix, langs), start=1):
            if number == 1 and drop_bom:
                for lang, line in zip(langs, pair, strict=True):
                    if line.startswith(BOM):
                        print(f"{side(prefix, lang).name}: the byte order mark at its start is left out")
                pair = pair[0].removeprefix(BOM), pair[1].removeprefix(BOM)
            for lang, line in zip(langs, pair, strict=True):
                if "\0" in line:
                    sys.exit(f"{side(prefix, lang).name}: line {number} holds a NUL byte: is it UTF-8?")
                if BLANK.fullmatch(line):
                    empty[lang].append(number)
            if not any(map(BLANK.fullmatch, pair)):
                found += 1
                if limit is None or found <= limit:
                    target.write(pair)
    for lang, numbers in empty.items():
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


def join(
    name: str,
    prefixes: Iterable[Path],
    langs: Sequence[str],
    out_dir: Path,
    *,
    every: int | None = None,
    notes: Iterable[str] = (),
    repair: bool = False,
    quiet: bool = False,
) -> None:
    """Write the pairs of all prefixes, one after the other, to NAME.LANG, and print how many there are.

    Args:
        every: N writes each Nth pair to valid.LANG instead.
        notes, repair: options of `pairs`.
    """
    with ExitStack() as stack:
        target = stack.enter_context(Sides(out_dir, name, langs))
        valid = stack.enter_context(Sides(out_dir, "valid", langs)) if every else None
        texts = (pair for prefix in prefixes for pair in pairs(prefix, langs, notes=notes, repair=repair))
        for number, pair in enumerate(texts, start=1):
            (valid if valid and every and number % every == 0 else target).write(pair)
    if not quiet:
        if valid:
            print(f"valid: {valid.count} pairs")
        print(f"{name}: {target.count} pairs")
