"""What the preparation of a data set does to a text, and how to undo it: from raw lines to subwords and back."""

import functools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from recipes.cli import need
from recipes.data.encodings import Gpt2
from recipes.data.prepared import CHARACTERS, GPT2, Prepared, read_prepared
from recipes.text import bpe, characters, moses, segment
from recipes.text.moses import Lines, plain_text

WMT14 = "prepare_wmt14.sh"
# What a script does beyond the settings that it writes down, in the training text. prepare_wmt14.sh leaves the
# punctuation of its test set as it is, because fairseq's scripts do.
BEYOND_SETTINGS: dict[str, dict[str, Any]] = {WMT14: {"normalize": True, "aggressive": True}}


def rules_of(prepared: Prepared) -> moses.Rules:
    """Return how the training text of a data set became tokens."""
    if prepared.tokenized:
        return moses.Rules(made=True, lowercase=prepared.lowercase)
    beyond = BEYOND_SETTINGS.get(prepared.script, {})
    return moses.Rules(escape=prepared.escaped, lowercase=prepared.lowercase, characters=prepared.pieces, **beyond)


def subwords_of(prepared: Prepared) -> ModuleType:
    """Return the module that makes the subwords of a data set: bpe, sentencepiece or characters, but not GPT-2's."""
    if not prepared.pieces:
        return bpe
    if prepared.subwords == CHARACTERS:
        return characters
    need(["sentencepiece"])
    from recipes.text import sentencepiece

    return sentencepiece


def encoder(prepared: Prepared, folder: Path, lang: str = "") -> Lines:
    """Return the function from lines, of tokens or of text if the subwords are pieces, to lines of subwords.

    Args:
        folder: bpe of the prepared data. Exit if it lacks what makes the subwords.
        lang: the language of the lines, which may have codes of its own.
    """
    if prepared.subwords == GPT2:
        return Gpt2(folder).lines(folder)
    if prepared.subwords == CHARACTERS:
        return characters.applier(folder)
    names = ("sentencepiece.model",) if prepared.pieces else ("codes", f"codes.{lang}")  # of both, or its own
    codes = [path for name in names if (path := folder / name).is_file()]
    if not codes:
        sys.exit(f"{folder} has no codes of the subwords: {' or '.join(names)}")
    return subwords_of(prepared).applier(codes[0])


def joiner(prepared: Prepared, folder: Path) -> Lines:
    """Return the function from lines of subwords to lines of tokens, or of text if the subwords are pieces."""
    if prepared.subwords == GPT2:
        return Gpt2(folder).texts(folder)
    return subwords_of(prepared).join


def tokens_of(joined: list[str], lang: str, prepared: Prepared) -> list[str]:
    """Return what a model of prepared data wrote, lines whose subwords are joined, as lines of tokens."""
    if prepared.pieces and not prepared.tokenized:
        return moses.tokenizer(lang, rules_of(prepared))(joined)
    return joined


def text_of(joined: list[str], lang: str, prepared: Prepared) -> list[str]:
    """Return what a model of prepared data wrote, lines whose subwords are joined, as plain text."""
    if prepared.pieces and not prepared.tokenized:
        return joined
    return plain_text(joined, lang, prepared.escaped)


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
        stages: list[Lines]
        if self.prepared.pieces:
            stages = [moses.lower] if self.prepared.lowercase else []
        else:
            need(segment.MODULES.get(segment.base(lang), ()) if not self.prepared.tokenized else ())
            stages = [moses.tokenizer(lang, rules_of(self.prepared))]
        stages.append(encoder(self.prepared, self.folder / "bpe", lang))
        return lambda lines: functools.reduce(lambda made, stage: stage(made), stages, lines)

    def decode(self, lang: str) -> Lines:
        """Return the function from lines of subwords of a language to plain text."""
        join = joiner(self.prepared, self.folder / "bpe")
        return lambda lines: text_of(join(lines), lang, self.prepared)
