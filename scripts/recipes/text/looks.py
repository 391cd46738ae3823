"""Look at text before tokens are made of it: is it tokenized, escaped, or without the spaces that tokens need?"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from recipes.text import segment
from recipes.text.line_pool import LinePool

# What Moses' tokenizer.perl writes for & | < > ' " [ ], and these as it finds them. An & may stand in either text.
ENTITY = re.compile("&(?:amp|apos|quot|lt|gt|#91|#93|#124);")
_UNESCAPED = re.compile("[|<>'\"\\[\\]]")
# A sign or an English ending that stands by itself behind a word.
_SPLIT_OFF = re.compile(r"(?<=\w) (?:[.,。，、]|'(?:s|t|m|d|re|ve|ll))(?= |$)")
# Shares of lines from which a text looks tokenized, or escaped. In the text of Multi30k, Tatoeba and SciTLDR, whose
# lines are one sentence to ten, 0.015 at most look tokenized and 0.0006 escaped; in tokens of the first two 0.76 do.
TOKENIZED, ESCAPED = 0.05, 0.005


@dataclass
class Look:
    """What the lines of a text look like."""

    counts: Counter[str] = field(default_factory=Counter)  # of lines, and what `segment.runs` counts
    example: str = ""  # the first line that looks tokenized or escaped, with its number

    @property
    def made(self) -> int:
        """The number of lines that look tokenized or escaped, 0 if they are as few as in plain text."""
        lines = self.counts["lines"]
        is_plain = self.counts["made"] < TOKENIZED * lines and self.counts["escaped"] < ESCAPED * lines
        return 0 if is_plain else self.counts["made"]

    @property
    def escaped(self) -> bool:
        """Whether tokens hold Moses' escapes: more lines have entities than signs that Moses escapes."""
        return self.counts["escaped"] > self.counts["unescaped"]

    @property
    def unsegmented(self) -> bool:
        """Whether the text is in a script without spaces, and nobody segmented it."""
        return segment.is_unsegmented(self.counts)


def _count(lines: list[str]) -> tuple[Counter[str], int]:
    """Return the counts of `Look` for lines, and the index of the first that looks tokenized or escaped, -1 if none."""
    counts, first = Counter({"lines": len(lines)}), -1
    for number, line in enumerate(lines):
        escaped = bool(ENTITY.search(line))
        made = escaped or bool(_SPLIT_OFF.search(line))
        if made and first < 0:
            first = number
        counts.update(escaped=escaped, unescaped=bool(_UNESCAPED.search(line)), made=made)
        counts.update(segment.runs(line))
    return counts, first


def look(files: Iterable[Path], workers: int) -> dict[Path, Look]:
    """Return what each of the texts looks like."""
    found = {}
    with LinePool(lambda: _count, workers) as pool:
        for file in files:
            seen = found[file] = Look()
            for counts, first in pool.results(file, f"look at {file.name}"):
                if first >= 0 and not seen.example:
                    seen.example = f"line {seen.counts['lines'] + first + 1}"
                seen.counts.update(counts)
    return found
