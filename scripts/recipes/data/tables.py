"""Read tables of labels and sentences, whose columns are separated by tabs."""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from recipes.data.sentences import Classes, Numbers, Row

SHOWN = 100  # characters of a header in an error


@dataclass(frozen=True)
class Task:
    """What the files of a task hold.

    Attributes:
        sentences, label: the names of these columns, or their numbers if the files have no header.
        labels: the classes, or the range of the numbers.
        columns: how many a file without a header has.
        dev: the file for validation, and those for other test sets, by their names.
        archive: the published one.
        drop_malformed: leave out lines with another number of columns, as fairseq's recipe does.
        keep_empty: take rows with an empty sentence.
    """

    sentences: tuple[str, ...]
    label: str
    labels: Classes | Numbers
    columns: int = 0
    dev: tuple[tuple[str, str], ...] = (("valid", "dev"),)
    archive: str = ""
    drop_malformed: bool = False
    keep_empty: bool = False


def rows_of(
    lines: Iterable[bytes], file: str, task: Task, wanted: Callable[[list[str]], bool] = lambda fields: True
) -> Iterator[Row]:
    """Yield the rows of a file of a task. Exit if its header lacks a column, or at a line of another form.

    Args:
        wanted: whether a line with these columns is taken.
    """
    places = {str(number): number for number in range(task.columns)}
    dropped, width = 0, task.columns
    for where, fields in table_rows(lines, file):
        if not places:
            places, width = {name: number for number, name in enumerate(fields)}, len(fields)
            for name in (*task.sentences, task.label):
                if name not in places:
                    sys.exit(f"{where}: the header has no column {name!r}: it is {' '.join(fields)[:SHOWN]!r}")
        elif len(fields) == width:
            if wanted(fields):
                yield Row(where, fields[places[task.label]], tuple(fields[places[name]] for name in task.sentences))
        elif task.drop_malformed:
            dropped += 1
        else:
            sys.exit(f"{where}: must have {width} columns, separated by tabs, not {len(fields)}")
    if dropped:
        print(f"{file}: {dropped:,} lines that have another number of columns are left out")


def table_rows(lines: Iterable[bytes], file: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the place and the fields of each line of a table whose fields are separated by tabs. Quotes are text.

    Exit with the place of a line that is not UTF-8 or holds a NUL byte. A byte order mark is left out.
    """
    for number, line in enumerate(lines, start=1):
        where = f"{file}: line {number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            sys.exit(f"{where} is not UTF-8 (byte {line[error.start]:#04x} at position {error.start + 1})")
        if "\0" in text:
            sys.exit(f"{where} holds a NUL byte: is it UTF-8?")
        yield where, text.rstrip("\r\n").split("\t")
