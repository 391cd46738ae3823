"""Read lines of text from files and pipes in windows, as they come."""

import os
import select
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from recipes.text.parallel import BOM, text_of

PAUSE = 0.2  # seconds without input after which the lines that have come are a window
BLOCK = 1 << 16  # bytes
STDIN = Path("standard input")  # stands for it; the paths of files are absolute


class Line(NamedTuple):
    """A line of text without its end."""

    text: str
    file: str  # the name of its file
    number: int


@contextmanager
def opened(file: Path) -> Iterator[int]:
    """Give the descriptor of a file, or of the standard input."""
    if file == STDIN:
        yield sys.stdin.fileno()
    else:
        with file.open("rb") as source:
            yield source.fileno()


def windows(files: Sequence[Path], size: int) -> Iterator[list[Line]]:
    """Yield the lines of files, or of the standard input where a file is STDIN, `size` at a time.

    A window is smaller at the end, and where the input pauses. Lines end at "\\n" or "\\r\\n". A byte order mark at the
    start of a file is left out. Exit at a line that is not UTF-8, after the lines before it were yielded.
    """
    window: list[Line] = []
    try:
        for file in files:
            for number, line in numbered(file):
                if line is not None:
                    window.append(line_of(line, number, file))
                if window and (line is None or len(window) == size):
                    yield window
                    window = []
    except (SystemExit, OSError):
        if window:
            yield window
        raise
    if window:
        yield window


def line_of(line: bytes, number: int, file: Path) -> Line:
    """Return a line of a file. Exit if it is not UTF-8."""
    text = text_of(line, number, file).rstrip("\r\n")
    return Line(text.removeprefix(BOM) if number == 1 else text, file.name, number)


def numbered(file: Path) -> Iterator[tuple[int, bytes | None]]:
    """Yield the number of each line of a file, from 1, and the line; None in its place where the input pauses."""
    number = 0
    begun: list[bytes] = []  # the blocks of a line whose end has not come
    with opened(file) as descriptor:
        while True:
            if not select.select([descriptor], [], [], PAUSE)[0]:
                yield number, None
                select.select([descriptor], [], [])
            block = os.read(descriptor, BLOCK)
            *lines, rest = block.split(b"\n")
            if lines:
                lines[0] = b"".join([*begun, lines[0]])
                begun.clear()
            begun.append(rest)
            if not block and (last := b"".join(begun)):
                lines = [last]
            for line in lines:
                number += 1
                yield number, line
            if not block:
                return


def count(files: Sequence[Path]) -> int | None:
    """Return how many lines the files have together, None if one of them is a pipe or a terminal."""
    lines = 0
    for file in files:
        state = os.fstat(sys.stdin.fileno()) if file == STDIN else file.stat()
        if not stat.S_ISREG(state.st_mode):  # to open a pipe twice would end the program that writes to it
            return None
        with opened(file) as descriptor:
            place, last = os.lseek(descriptor, 0, os.SEEK_CUR), b"\n"
            while block := os.pread(descriptor, BLOCK, place):
                lines += block.count(b"\n")
                place, last = place + len(block), block[-1:]
            lines += last != b"\n"
    return lines
