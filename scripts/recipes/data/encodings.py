"""How the sentences of a data set for sentence prediction become the entries of its dictionary."""

import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from recipes.files import own_folder, read_lines, sha256
from recipes.quiet import quiet
from recipes.text import bpe, moses
from recipes.text.binarize import write_dictionary
from recipes.text.line_pool import map_files
from recipes.text.moses import Lines

DICTIONARY = "dict.txt"


class Encoding(Protocol):
    """What makes entries of a dictionary of sentences."""

    options: dict[str, str | int | bool]  # what the settings say about it, with the SHA-256 of files that it needs

    def learn(self, texts: Sequence[Path], folder: Path, workers: int) -> None:
        """Write to a folder what `lines` reads there; also dict.txt, if the dictionary is given beforehand."""

    def lines(self, folder: Path) -> Lines:
        """Return the function from raw sentences to lines of entries, by what `learn` wrote to the folder."""


class Gpt2:
    """The bytes in pairs of GPT-2, with the dictionary of RoBERTa. The entries are numbers, as in fairseq's recipe.

    Args:
        folder: it holds encoder.json, vocab.bpe and dict.txt. Exit if one of them is missing.
    """

    FILES = ("encoder.json", "vocab.bpe", DICTIONARY)
    SITE = "https://dl.fbaipublicfiles.com/fairseq/gpt2_bpe"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in self.FILES:
            if not (folder / name).is_file():
                sys.exit(f"{folder} has no {name}, which RoBERTa and BART need; it is published at {self.SITE}/{name}")
        self.options: dict[str, str | int | bool] = {"subwords": "GPT-2"}
        self.options |= {name: sha256(folder / name) for name in self.FILES}

    def learn(self, texts: Sequence[Path], folder: Path, workers: int) -> None:
        """Copy the files of the BPE to the folder."""
        for name in self.FILES:
            shutil.copyfile(self.folder / name, folder / name)

    def lines(self, folder: Path) -> Lines:
        """Return what encodes lines as numbers of GPT-2's subwords. Exit if the files are not GPT-2's."""
        encoder = self._encoder(folder)

        def encode(lines: list[str]) -> list[str]:
            if len(encoder.cache) > bpe.CACHED_WORDS:  # fairseq keeps every word that it has met
                encoder.cache.clear()
            return [" ".join(map(str, encoder.encode(line.strip()))) for line in lines]

        return encode

    def texts(self, folder: Path) -> Lines:
        """Return the function from lines of entries to text. What is no entry of encoder.json is left out."""
        encoder = self._encoder(folder)
        known = {str(number): number for number in encoder.decoder}
        return lambda lines: [
            encoder.decode([known[entry] for entry in line.split() if entry in known]).strip() for line in lines
        ]

    def _encoder(self, folder: Path) -> Any:
        """Return fairseq's encoder by the files in a folder. Exit if they are not those of GPT-2."""
        with quiet():
            from fairseq.data.encoders.gpt2_bpe_utils import get_encoder

        try:
            encoder = get_encoder(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
        except (ValueError, AttributeError, TypeError) as error:
            sys.exit(f"encoder.json and vocab.bpe are not those of GPT-2: {error}")
        made = [*encoder.byte_encoder.values(), *map("".join, encoder.bpe_ranks)]
        if missing := [name for name in made if name not in encoder.encoder]:
            sys.exit(f"encoder.json lacks {missing[0]!r}: it and vocab.bpe are not those of GPT-2")
        entries = {line.split(" ")[0] for line in read_lines(folder / DICTIONARY)}
        if 2 * len(entries.intersection(map(str, encoder.encoder.values()))) < len(encoder.encoder):
            sys.exit(f"{DICTIONARY} lacks most entries of encoder.json: it is not that of RoBERTa or BART")
        return encoder


class LearnedBpe:
    """Moses' tokens in lower case, and subwords of them that are learned from the training text.

    Args:
        merges: how many at most.
        lang: of the text.
    """

    def __init__(self, merges: int, lang: str = "en") -> None:
        self.merges, self.tokens = merges, partial(moses.tokenizer, lang, moses.Rules(lowercase=True))
        self.options: dict[str, str | int | bool] = {"bpe": merges}

    def learn(self, texts: Sequence[Path], folder: Path, workers: int) -> None:
        """Learn BPE from the tokens of the texts."""
        with own_folder(folder, "tokens") as tokens:
            map_files(self.tokens, texts, tokens, workers)
            bpe.learn(folder / "codes", self.merges, [tokens / text.name for text in texts], workers)

    def lines(self, folder: Path) -> Lines:
        """Return what encodes lines as subwords of lower-cased tokens."""
        tokens, subwords = self.tokens(), bpe.applier(folder / "codes")
        return lambda lines: subwords(tokens(lines))


class Characters:
    """Each character but white space, as for Chinese."""

    def __init__(self) -> None:
        self.options: dict[str, str | int | bool] = {"subwords": "characters"}

    def learn(self, texts: Sequence[Path], folder: Path, workers: int) -> None:
        """Learn nothing."""

    def lines(self, folder: Path) -> Lines:
        """Return what encodes lines as characters."""
        return lambda lines: [" ".join("".join(line.split())) for line in lines]


def encode(encoding: Encoding, training: Sequence[Path], texts: Sequence[Path], folder: Path, workers: int) -> None:
    """Write the entries of texts to files of the same names in a folder, beside what the encoding needs and dict.txt.

    Args:
        training: those of the texts of which the encoding and the dictionary are made, if they are not given.
    """
    encoding.learn(training, folder, workers)
    encoding.lines(folder)  # so that an error is printed here; a worker process would end without its message
    map_files(partial(encoding.lines, folder), texts, folder, workers)
    if not (folder / DICTIONARY).is_file():
        write_dictionary([folder / text.name for text in training], folder / DICTIONARY, workers)
