"""What data sets of texts and their summaries share: the names of their files, and the steps from text to data."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from recipes.data.encodings import DICTIONARY, Gpt2
from recipes.data.pipeline import Step
from recipes.data.preparation import encoder
from recipes.data.prepared import SENTENCEPIECE
from recipes.data.translation import Translation
from recipes.text.line_pool import map_files

LANGS = ("source", "target")
NAMES = {"train": ("train",), "valid": ("valid", "val", "dev"), "test": ("test",)}


@dataclass(frozen=True)
class Summaries(Translation):
    """The steps of texts and summaries: pieces of the text itself, by one model and one dictionary for both sides.

    The settings say which pieces: SentencePiece's, characters, or GPT-2's, whose files and dictionary are given.
    """

    gpt2: Gpt2 | None = None

    @property
    def steps(self) -> list[Step]:
        """The steps from text to binarized data."""
        return [Step("bpe", self.bpe), Step("bin", self.bin)]

    def learn(self, folder: str | Path, codes: Path) -> None:
        """Learn pieces from the texts in a folder, or copy the files of GPT-2's, to the folder `codes`."""
        if self.gpt2:
            self.gpt2.learn((), codes, self.workers)
            self.gpt2.lines(codes)  # so that an error is printed here; a worker process would end without its message
        elif self.prepared.subwords == SENTENCEPIECE:
            super().learn(folder, codes)

    def apply(self, codes: Path, folder: str | Path, target: Path) -> None:
        """Write the pieces of the texts in a folder to the folder `target`."""
        map_files(partial(encoder, self.prepared, codes), self.texts(folder), target, self.workers)

    def bin(self, part: Path) -> None:
        """Binarize the pieces, with BART's dictionary if it is given."""
        known = None
        if self.gpt2:
            known = part / ".dictionaries"
            known.mkdir()
            for lang in self.langs:
                shutil.copyfile(self.out / "bpe" / DICTIONARY, known / f"dict.{lang}.txt")
        self.binarize(self.out / "bpe", part / "bin", known)
