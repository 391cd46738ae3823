"""The steps that all data sets for sentence prediction share: from rows of labels and sentences to binarized data."""

import math
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from recipes.data.encodings import DICTIONARY, Encoding, encode
from recipes.data.pipeline import Step, prepare
from recipes.data.prepared import Prepared
from recipes.files import own_folder, read_lines, write_lines
from recipes.text.binarize import binarize
from recipes.text.parallel import BLANK

UNLABELED = "<unlabeled>"  # the label of a row that has none, for the task rdrop_sentence_prediction
LINE_ENDS = str.maketrans("\r\n", "  ")  # fairseq would end a line there


@dataclass(frozen=True)
class Row:
    """An example of a data set."""

    where: str  # its place, as in "train.tsv: line 7"
    label: str
    sentences: tuple[str, ...]  # one or two


@dataclass(frozen=True)
class Classes:
    """Labels of which each is one of a few words. Their order is that of the classes in the model."""

    names: Sequence[str]

    def check(self, row: Row) -> None:
        """Exit unless the label of a row is one of the names."""
        if row.label not in self.names:
            sys.exit(f"{row.where}: the label must be {' or '.join(self.names)}, not {row.label!r}")

    def binarize(self, texts: Path, out: Path, splits: Sequence[str], workers: int, log: Path) -> None:
        """Write the dictionary of the labels and the binarized labels of texts/SPLIT.label to a folder."""
        counts = Counter(read_lines(texts / f"{splits[0]}.label"))
        with own_folder(out.parent, "label") as known:
            write_lines(known / DICTIONARY, [f"{name} {counts[name]}" for name in self.names])
            labels = [f"{split}.label" for split in splits]
            binarize(texts, out, None, labels, joint=False, workers=workers, log=log, known=known)


@dataclass(frozen=True)
class Numbers:
    """Labels that are numbers from `low` to `high`. The model learns them moved to the range from 0 to 1."""

    low: float
    high: float

    def check(self, row: Row) -> None:
        """Exit unless the label of a row is a number in the range."""
        try:
            number = float(row.label)
        except ValueError:
            number = math.nan
        if not self.low <= number <= self.high:
            sys.exit(f"{row.where}: the label must be a number from {self.low:g} to {self.high:g}, not {row.label!r}")

    def binarize(self, texts: Path, out: Path, splits: Sequence[str], workers: int, log: Path) -> None:
        """Write SPLIT.label with the moved numbers, which fairseq reads as text."""
        for number, split in enumerate(splits):
            name = ("train", "valid", "test")[number] if number < 3 else f"test{number - 2}"
            labels = map(float, read_lines(texts / f"{split}.label"))
            write_lines(out / f"{name}.label", (f"{(one - self.low) / (self.high - self.low):.6g}" for one in labels))


@dataclass(frozen=True)
class Sentences:
    """The steps of a data set for sentence prediction."""

    out: Path
    splits: Mapping[str, Callable[[], Iterable[Row]]]  # what reads train, valid, and any number of test sets
    labels: Classes | Numbers
    encoding: Encoding
    workers: int
    inputs: int = 1  # sentences of a row
    keep_empty: bool = False  # take a row whose sentence holds no more than white space

    @property
    def steps(self) -> list[Step]:
        """The steps from the rows to binarized data."""
        return [Step("raw", self.raw), Step("bpe", self.bpe), Step("bin", self.bin)]

    @property
    def parts(self) -> list[str]:
        """The names of the inputs, as fairseq calls them."""
        return [f"input{number}" for number in range(self.inputs)]

    def raw(self, part: Path) -> None:
        """Write SPLIT.label and the sentences, SPLIT.input0 and SPLIT.input1, and print how many rows there are.

        Exit with the place of a row that cannot be used, or if a split has none.
        """
        for split, read in self.splits.items():
            rows = 0
            with ExitStack() as stack:
                paths = [part / "raw" / f"{split}.{name}" for name in ("label", *self.parts)]
                files = [stack.enter_context(path.open("w", encoding="utf-8", newline="\n")) for path in paths]
                for row in map(self.checked, read()):
                    rows += 1
                    for file, text in zip(files, (row.label, *row.sentences), strict=True):
                        file.write(f"{text.translate(LINE_ENDS)}\n")
            if not rows:
                sys.exit(f"{split} has no rows")
            print(f"{split}: {rows:,} rows")

    def checked(self, row: Row) -> Row:
        """Return a row that can be used. Exit with its place if it is none."""
        self.labels.check(row)
        if not self.keep_empty and any(map(BLANK.fullmatch, row.sentences)):
            sys.exit(f"{row.where}: a sentence is empty")
        return row

    def bpe(self, part: Path) -> None:
        """Encode the sentences."""
        texts = [self.out / "raw" / f"{split}.{name}" for split in self.splits for name in self.parts]
        encode(self.encoding, texts[: self.inputs], texts, part / "bpe", self.workers)

    def bin(self, part: Path) -> None:
        """Binarize the encoded sentences and the labels."""
        texts, log, splits = self.out / "bpe", self.out / "preprocess.log", list(self.splits)
        for folder in (*self.parts, "label"):
            (part / "bin" / folder).mkdir()
        for name in self.parts:
            files, target = [f"{split}.{name}" for split in splits], part / "bin" / name
            binarize(texts, target, None, files, joint=False, workers=self.workers, log=log, known=texts)
        self.labels.binarize(self.out / "raw", part / "bin" / "label", splits, self.workers, log)


def prepare_sentences(
    args: Namespace,
    script: str,
    options: Mapping[str, str | int | bool],
    sentences: Sentences,
    digests: Callable[[], dict[str, str]],
) -> None:
    """Run all steps of a data set, and write down how it was made.

    Args:
        args: with `source`, what --from says.
        script: the name of the prepare script.
        options: those that the data depends on, without those of the encoding.
        digests: returns the SHA-256 of each source by name.
    """
    settings = Prepared(script, {**options, **sentences.encoding.options}, list(sentences.splits)[2:])
    prepare(sentences.out, settings, sentences.steps, digests, source_is_given=bool(args.source))
