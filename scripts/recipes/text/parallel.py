"""Two files whose lines belong together, read pair by pair: as published, with mark-up, or plain."""

import re
import sys
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

from tqdm import tqdm

BOM = "\ufeff"  # the byte order mark that some programs write at the start of a text
TITLES = re.compile(r"</?(?:title|description)>")


def side(prefix: Path, lang: str) -> Path:
    """Return the file of one language, PREFIX.LANG."""
    return prefix.with_name(f"{prefix.name}.{lang}")


def text_of(line: bytes, number: int, file: Path) -> str:
    """Return the line as text; exits with the file and the line where it is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        sys.exit(
            f"{file.name}: line {number} is not UTF-8 (byte {line[error.start]:#04x} at position {error.start + 1})"
        )


def no_breaks(line: str) -> str:
    """Return the no-break spaces of a line: a line of these alone is blank for Python, and for sed it is not."""
    return "".join(char for char in line if char in "\u00a0\u2007\u202f")


def talks(lines: Iterable[str], notes: Iterable[str]) -> Iterator[str]:
    """Yield the sentences and titles of IWSLT's train.tags, as fairseq's prepare-iwslt14.sh takes them.

    Args:
        lines: the lines of the file.
        notes: lines that hold one of these are left out; the tags of title and description go, their text stays.
    """
    for line in lines:
        if not any(note in line for note in notes):
            yield TITLES.sub("", line).strip() or no_breaks(line)


def segments(lines: Iterable[str], file: Path) -> Iterator[str]:
    """Yield the text of each line with a `<seg id=`, as fairseq's scripts take it: with a plain apostrophe for ’."""
    found = False
    for line in lines:
        if "<seg id" in line:
            found = True
            text = re.sub(r"\s*</seg>\s*", "", re.sub(r'<seg id="[0-9]*">\s*', "", line))
            yield text.replace("’", "'") or no_breaks(line)
    if not found:
        sys.exit(f"{file.name}: no line with <seg id=...>, so no test set of IWSLT or WMT")


def pairs(
    prefix: Path, langs: Iterable[str], *, notes: Iterable[str] = (), repair: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield the pairs of lines of PREFIX.LANG for both languages, without line ends, in constant memory.

    Lines end at "\\n" alone, or "\\r\\n". A prefix that ends in .xml or .sgm is a test set with `<seg id=`; with notes
    it is IWSLT's train.tags. Exits with one line where a side is empty, the sides differ in length, or a line is not
    UTF-8; with `repair` such bytes become U+FFFD, and a last line on standard output counts the lines.
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

    def read(number: int) -> Iterator[str]:
        if prefix.suffix in (".xml", ".sgm"):
            return segments(lines_of(number), files[number])
        return talks(lines_of(number), notes) if notes else lines_of(number)

    size = files[0].stat().st_size
    with (
        files[0].open("rb") as one,
        files[1].open("rb") as two,
        tqdm(desc=prefix.name, total=size, unit="B", unit_scale=True, leave=False, disable=None, delay=2) as bar,
    ):
        sources = (one, two)
        for first, second in zip_longest(read(0), read(1)):
            counts[0] += first is not None
            counts[1] += second is not None
            if first is not None and second is not None:
                yield first, second
    for file, count in zip(files, counts, strict=True):
        if count == 0:
            sys.exit(f"{file.name}: the file is empty")
    if counts[0] != counts[1]:
        longer, shorter = (files[number].name for number in (counts.index(max(counts)), counts.index(min(counts))))
        sys.exit(
            f"the sides differ in length: {longer} has {max(counts)} lines, {shorter} has {min(counts)}"
            f" (none to match line {min(counts) + 1} and after)"
        )
    if broken:
        print(f"{prefix.name}: {broken} lines were not UTF-8; the bytes that were not are now U+FFFD")


class Sides:
    """The files NAME.LANG of both languages in a folder, open to write pairs of lines to; for a `with` statement."""

    def __init__(self, folder: Path, name: str, langs: Iterable[str]) -> None:
        self._files = [(folder / f"{name}.{lang}").open("w", encoding="utf-8", newline="\n") for lang in langs]
        self.count = 0

    def write(self, pair: Iterable[str]) -> None:
        self.count += 1
        for file, line in zip(self._files, pair, strict=True):
            file.write(f"{line}\n")

    def __enter__(self) -> "Sides":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()
