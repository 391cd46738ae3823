"""What the preparation of a data set does to a text, and how to undo it: from raw lines to subwords and back."""

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

from recipes.data.prepared import Prepared, read_prepared
from recipes.text import bpe, moses
from recipes.text.moses import Lines
from recipes.text.plain import plain_text

WMT14 = "prepare_wmt14.sh"
# What a script does beyond the settings that it writes down, in the training text. prepare_wmt14.sh leaves the
# punctuation of its test set as it is, because fairseq's scripts do.
BEYOND_SETTINGS: dict[str, dict[str, Any]] = {WMT14: {"normalize": True, "aggressive": True}}


def rules_of(prepared: Prepared) -> moses.Rules:
    """Return how the training text of a data set became tokens."""
    beyond = BEYOND_SETTINGS.get(prepared.script, {})
    return moses.Rules(escape=prepared.escaped, lowercase=prepared.lowercase, **beyond)


class Preparation:
    """What was done to the texts of prepared data, to do the same to other texts.

    Args:
        folder: the folder of prepared data, or a copy by `layout.copy_of_preparation`. Exit if it lacks the settings.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prepared = read_prepared(folder)

    def encode(self, lang: str) -> Lines:
        """Return the function from raw lines of a language to lines of subwords, the words of bin's dictionaries.

        Exit if the codes of the subwords are missing.
        """
        if lang == "zh" and importlib.util.find_spec("jieba") is None:
            sys.exit("not installed: jieba; run make install, or activate the environment that has it")
        stages = [moses.tokenizer(lang, rules_of(self.prepared)), bpe.applier(self._codes(lang))]
        return lambda lines: functools.reduce(lambda made, stage: stage(made), stages, lines)

    def join(self, lines: list[str]) -> list[str]:
        """Return the lines of tokens whose subwords the lines hold."""
        return bpe.join(lines)

    def text(self, lang: str) -> Lines:
        """Return the function from lines of tokens of a language to plain text."""
        return lambda tokens: plain_text(tokens, lang, self.prepared.escaped)

    def decode(self, lang: str) -> Lines:
        """Return the function from lines of subwords of a language to plain text."""
        text = self.text(lang)
        return lambda lines: text(self.join(lines))

    def _codes(self, lang: str) -> Path:
        """Return the codes of a language's subwords: those of both languages together, or its own."""
        names = ("codes", f"codes.{lang}")
        found = [path for name in names if (path := self.folder / "bpe" / name).is_file()]
        if not found:
            sys.exit(f"{self.folder / 'bpe'} has no codes of the subwords: neither {names[0]} nor {names[1]}")
        return found[0]
