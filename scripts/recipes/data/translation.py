"""The steps that all data sets for translation share: from text or tokens to subwords and binarized data."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from recipes.data.pipeline import Step
from recipes.data.preparation import rules_of, subwords_of
from recipes.data.prepared import Prepared, read_prepared
from recipes.files import write_joined
from recipes.text import moses
from recipes.text.binarize import binarize
from recipes.text.line_pool import map_files


@dataclass(frozen=True)
class Translation:
    """The steps of a data set for translation."""

    out: Path
    langs: Sequence[str]  # the source and the target language: the files of a text are NAME.SOURCE and NAME.TARGET
    merges: int  # of BPE
    workers: int
    joint: bool = True  # both languages share one BPE and one dictionary
    moses: Path | None = None  # a checkout whose scripts make the tokens
    both_ways: bool = False  # also binarize the pairs in both directions

    @property
    def steps(self) -> list[Step]:
        """The steps from text to binarized data."""
        return [Step("tok", self.tok), Step("bpe", self.bpe), *self.binarized]

    @property
    def binarized(self) -> list[Step]:
        """The steps from subwords to binarized data."""
        return [Step("bin", self.bin), Step("both", self.both, is_wanted=self.both_ways)]

    def texts(self, folder: str | Path) -> list[Path]:
        """Return the texts of a folder of the output folder, in both languages."""
        return [text for lang in self.langs for text in sorted((self.out / folder).glob(f"*.{lang}"))]

    def tok(self, part: Path) -> None:
        """Split the text into tokens, as Moses does."""
        moses.tokenize(self.texts("raw"), part / "tok", self.workers, rules_of(self.prepared), self.moses)

    def bpe(self, part: Path) -> None:
        """Learn subwords from the training text, from its tokens unless they are pieces of text, and apply them."""
        folder: str | Path = "tok"
        if self.prepared.pieces:
            folder = "raw"
            if self.prepared.lowercase:
                folder = part / ".text"
                folder.mkdir()
                moses.lowercase(self.texts("raw"), folder, self.workers)
        self.learn(folder, part / "bpe")
        self.apply(part / "bpe", folder, part / "bpe")

    def bin(self, part: Path) -> None:
        """Binarize the subwords."""
        self.binarize(self.out / "bpe", part / "bin")

    def binarize(self, texts: Path, out: Path, known: Path | None = None) -> None:
        """Binarize the texts of a folder, with the dictionaries of the folder `known` if it is given."""
        splits, log = ["train", "valid", *self.prepared.testsets], self.out / "preprocess.log"
        binarize(texts, out, self.langs, splits, joint=self.joint, workers=self.workers, log=log, known=known)

    def both(self, part: Path) -> None:
        """Binarize the training and the validation pairs in both directions, with the dictionary of one (Bi-SimCut).

        The lines of the source are followed by those of the target, and the lines of the target by those of the
        source. The test sets stay in one direction, so that a model has a score in it.
        """
        joined = part / ".texts"
        joined.mkdir()
        for lang, other in (self.langs, reversed(self.langs)):
            for split in ("train", "valid"):
                write_joined(joined / f"{split}.{lang}", [self.out / "bpe" / f"{split}.{one}" for one in (lang, other)])
            for name in self.prepared.testsets:
                (joined / f"{name}.{lang}").symlink_to(self.out / "bpe" / f"{name}.{lang}")
        self.binarize(joined, part / "both", known=self.out / "bin")

    def learn(self, folder: str | Path, codes: Path) -> None:
        """Learn subwords from the training text in a folder, and write the codes to the folder `codes`."""
        for name, langs in self._codes():
            texts = [self.out / folder / f"train.{lang}" for lang in langs]
            subwords_of(self.prepared).learn(codes / name, self.merges, texts, self.workers)

    def apply(self, codes: Path, folder: str | Path, target: Path) -> None:
        """Write the subwords of the texts in a folder to the folder `target`."""
        for name, langs in self._codes():
            texts = [text for text in self.texts(folder) if text.suffix[1:] in langs]
            map_files(partial(subwords_of(self.prepared).applier, codes / name), texts, target, self.workers)

    @property
    def prepared(self) -> Prepared:
        """The settings, which are written with the first step."""
        return read_prepared(self.out)

    def _codes(self) -> list[tuple[str, Sequence[str]]]:
        """Return the file of each model of subwords, and its languages."""
        if self.prepared.pieces:
            return [("sentencepiece.model", self.langs)]
        return [("codes", self.langs)] if self.joint else [(f"codes.{lang}", (lang,)) for lang in self.langs]
