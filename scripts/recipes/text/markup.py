"""The sentences in the marked-up files of IWSLT and WMT."""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

MARKED_UP = (".xml", ".sgm")  # the ends of prefixes of test sets with `<seg id=`
TITLES = re.compile(r"</?(?:title|description)>")


def talks(lines: Iterable[str], notes: Iterable[str]) -> Iterator[str]:
    """Yield the sentences and titles of IWSLT's train.tags, without their tags, as fairseq's prepare-iwslt14.sh does.

    Lines that hold one of the notes are left out.
    """
    for line in lines:
        if not any(note in line for note in notes):
            yield TITLES.sub("", line).strip() or _no_break_spaces(line)


def segments(lines: Iterable[str], file: Path) -> Iterator[str]:
    """Yield the text of each line with a `<seg id=`, as fairseq's scripts take it: ’ becomes a plain apostrophe.

    Exit if there is no such line.
    """
    found = False
    for line in lines:
        if "<seg id" in line:
            found = True
            text = re.sub(r"\s*</seg>\s*", "", re.sub(r'<seg id="[0-9]*">\s*', "", line))
            yield text.replace("’", "'") or _no_break_spaces(line)
    if not found:
        sys.exit(f"{file.name}: no line with <seg id=...>, so no test set of IWSLT or WMT")


def _no_break_spaces(line: str) -> str:
    """Return the no-break spaces of a line. sed does not take them for white space, so it keeps a line of them."""
    return "".join(char for char in line if char in "\u00a0\u2007\u202f")
