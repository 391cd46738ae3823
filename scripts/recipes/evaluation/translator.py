"""Translate raw text with an engine: subwords and back, lines that are too long, empty lines."""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from recipes.evaluation.decoding import EMPTY, Hypothesis
from recipes.evaluation.line_stream import Line
from recipes.text.moses import Lines

# Where a line that is too long is cut: after a sentence, or else after a word, or else anywhere.
CUTS = [re.compile(r"[.!?…؟।][\"'”’»)\]]*\s+|[。！？][”’」』）]*"), re.compile(r"\s+"), re.compile(r"")]


class Engine(Protocol):
    """What translates lines of subwords: the models of checkpoints, which decode together, or one that was exported."""

    longest: int  # how many subwords a source line may have, with the end of sentence

    def translate(self, lines: list[str], how: dict[str, Any], nbest: int) -> list[list[Hypothesis]]:
        """Return the hypotheses of each line, `nbest` of them, the best first. Their texts are lines of subwords.

        Args:
            lines: subwords, separated by spaces; no line is empty, and none has more than `longest` subwords.
            how: settings of fairseq's GenerationConfig by name, as `decoding_of` returns them.
        """
        ...


class Translation(NamedTuple):
    """A translation of a line."""

    text: str
    score: float  # see Hypothesis; of a line that was cut, the mean of its parts, weighted by their lengths


@dataclass(frozen=True)
class Translator:
    """What translates raw text."""

    engine: Engine
    encode: Lines  # from raw text to subwords
    decode: Lines  # from subwords to plain text
    how: dict[str, Any]  # the settings of decoding
    nbest: int = 1
    note: Callable[[str], None] = print  # is told of lines that are cut
    cuts: bool = False  # whether only the start of a line that is too long is translated, as of a text to summarize

    def translate(self, lines: list[Line]) -> list[list[Translation]]:
        """Return the translations of each line, `nbest` of them, the best first. That of an empty line is empty."""
        parts = [self._parts(*both) for both in zip(lines, self.encode([line.text for line in lines]), strict=True)]
        flat = [part for of_line in parts for part in of_line]
        found = iter(self.engine.translate(flat, self.how, self.nbest) if flat else [])
        by_line = [[next(found) for _ in of_line] for of_line in parts]
        ranked = [join(of_line, rank) for of_line in by_line for rank in range(self.nbest)]
        texts = iter(self.decode([hypothesis.text for hypothesis in ranked]))
        made = iter([Translation(next(texts), hypothesis.score) for hypothesis in ranked])
        return [[next(made) for _ in range(self.nbest)] for _ in lines]

    def _parts(self, line: Line, subwords: str) -> list[str]:
        """Return the subwords of a line, in several parts if the model does not take them at once; none if it is empty.

        Exit if the line cannot be cut into parts that are short enough.
        """
        if self.cuts and len(subwords.split()) >= (longest := self.engine.longest):
            self.note(
                f"{line.file}: line {line.number} is longer than the model's {longest:,} positions: its end is cut"
            )
            return [" ".join(subwords.split()[: longest - 1])]
        parts = list(self._cut(line, line.text, subwords))
        if len(parts) > 1:
            longer = f"is longer than the model's {self.engine.longest:,} positions: translated in {len(parts)} parts"
            self.note(f"{line.file}: line {line.number} {longer}")
        return parts

    def _cut(self, line: Line, text: str, subwords: str) -> Iterator[str]:
        """Yield the subwords of a text, cut in halves until each part fits the model. Exit if a part cannot be cut."""
        count = len(subwords.split())
        if count < self.engine.longest:  # the end of sentence is one more
            if count:
                yield subwords
            return
        halves = halve(text.strip())
        if not halves:
            room = f"than the model's {self.engine.longest} positions"
            sys.exit(f"{line.file}: line {line.number} cannot be cut into parts: a character has more subwords {room}")
        for half, encoded in zip(halves, self.encode(list(halves)), strict=True):
            yield from self._cut(line, half, encoded)


def halve(text: str) -> tuple[str, str] | None:
    """Cut a text near its middle: after a sentence, or else after a word, or else anywhere. None if it is too short."""
    for pattern in CUTS:
        places = [place for found in pattern.finditer(text) if 0 < (place := found.end()) < len(text)]
        if places:
            place = min(places, key=lambda place: abs(2 * place - len(text)))
            return text[:place], text[place:]
    return None


def join(parts: list[list[Hypothesis]], rank: int) -> Hypothesis:
    """Return the hypothesis of a line from those of its parts, each the one of that rank or the last one."""
    if not parts:
        return EMPTY
    chosen = [of_part[min(rank, len(of_part) - 1)] for of_part in parts]
    length = sum(part.length for part in chosen)
    score = sum(part.score * part.length for part in chosen) / length
    return Hypothesis(" ".join(part.text for part in chosen), score, length)
