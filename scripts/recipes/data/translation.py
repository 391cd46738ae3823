"""The steps that all data sets for translation share: from text or tokens to subwords and binarized data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes.data.pipeline import Step
from recipes.data.preparation import rules_of
from recipes.data.prepared import read_prepared
from recipes.text import bpe, moses
from recipes.text.binarize import binarize


@dataclass(frozen=True)
class Translation:
    """The steps of a data set for translation."""

    out: Path
    langs: Sequence[str]  # the source and the target language: the files of a text are NAME.SOURCE and NAME.TARGET
    merges: int  # of BPE
    workers: int
    joint: bool = True  # both languages share one BPE and one dictionary

    @property
    def steps(self) -> list[Step]:
        return [Step("tok", self.tok), Step("bpe", self.bpe), Step("bin", self.bin)]

    def texts(self, folder: str) -> list[Path]:
        """Return the texts of a folder of the output folder, in both languages."""
        return [text for lang in self.langs for text in sorted((self.out / folder).glob(f"*.{lang}"))]

    def tok(self, part: Path) -> None:
        moses.tokenize(self.texts("raw"), part / "tok", self.workers, rules_of(read_prepared(self.out)))

    def bpe(self, part: Path) -> None:
        """Learn BPE from the tokens of the training text, and apply it to all tokens."""
        self.learn("tok", part / "bpe")
        self.apply(part / "bpe", "tok", part / "bpe")

    def bin(self, part: Path) -> None:
        splits = ["train", "valid", *read_prepared(self.out).testsets]
        log, folder = self.out / "preprocess.log", self.out / "bpe"
        binarize(folder, part / "bin", self.langs, splits, joint=self.joint, workers=self.workers, log=log)

    def learn(self, folder: str, codes: Path) -> None:
        """Learn BPE from the training text in a folder, and write the codes to the folder `codes`."""
        for name, langs in self._codes():
            bpe.learn(codes / name, self.merges, [self.out / folder / f"train.{lang}" for lang in langs], self.workers)

    def apply(self, codes: Path, folder: str, target: Path) -> None:
        """Write the subwords of the texts in a folder to the folder `target`."""
        for name, langs in self._codes():
            texts = [text for text in self.texts(folder) if text.suffix[1:] in langs]
            bpe.apply(codes / name, texts, target, self.workers)

    def _codes(self) -> list[tuple[str, Sequence[str]]]:
        """Return the file of each BPE, and its languages."""
        return [("codes", self.langs)] if self.joint else [(f"codes.{lang}", (lang,)) for lang in self.langs]
