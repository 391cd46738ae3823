"""fairseq's sentence prediction, for classes or numbers, with R-Drop's schedules and checks of the labels."""

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.tasks import register_task
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask
from omegaconf import II

from rdrop_fairseq.compat.task_and_criterion import IGNORED, MARK, OffersUnlabeled
from rdrop_fairseq.compat.unlabeled import MarkedClasses, RowsAtTimes, without_mark
from rdrop_fairseq.tasks.rdrop_task import RDropTask, RDropTaskConfig


@dataclass
class RDropSentencePredictionConfig(SentencePredictionConfig, RDropTaskConfig):
    """The parent's settings and those of every R-Drop task."""

    rdrop_upsample_labeled: int = field(
        default=1,
        metadata={"help": "how often an epoch has each sentence with a label, where others are marked <unlabeled>"},
    )
    rdrop_skip_unlabeled: bool = field(
        default=False,
        metadata={
            "help": "without --rdrop-unlabeled-alpha leave the sentences marked <unlabeled> out of the training, "
            "instead of refusing them"
        },
    )
    train_subset: str = II("dataset.train_subset")


@register_task("rdrop_sentence_prediction", dataclass=RDropSentencePredictionConfig)
class RDropSentencePredictionTask(RDropTask, OffersUnlabeled, SentencePredictionTask):
    """Do all that fairseq's ``sentence_prediction`` does, and what R-Drop's schedules of alpha need.

    A label that cannot be predicted ends the training with one line before it begins. The label ``<unlabeled>`` marks
    a sentence that has none. It is no class: its place in the dictionary does not count, and a batch has -100 there.
    """

    mark: int | None = None  # the place of the mark in the dictionary of labels, without the special symbols

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> "RDropSentencePredictionTask":
        """Return the parent's task; exit with one line if ``--num-classes`` or a dictionary is missing."""
        if cfg.num_classes < 1:
            sys.exit(f"error: --num-classes {cfg.num_classes}: must be the number of classes, or of numbers to predict")
        for part in ("input0",) if cfg.regression_target else ("input0", "label"):
            if not (dictionary := Path(cfg.data, part, "dict.txt")).is_file():
                sys.exit(f"error: there is no {dictionary}, which fairseq-preprocess --destdir {part} would have made")
        first, second = (Path(cfg.data, part, "dict.txt") for part in ("input0", "input1"))
        if second.is_file() and second.read_bytes() != first.read_bytes():
            sys.exit(f"error: {second} is not {first}; make input1 with fairseq-preprocess --srcdict {first}")
        if getattr(cfg, "rdrop_upsample_labeled", 1) < 1:  # a checkpoint of an earlier version lacks it
            sys.exit(f"error: --rdrop-upsample-labeled {cfg.rdrop_upsample_labeled}: must be an integer >= 1")
        task: RDropSentencePredictionTask = super().setup_task(cfg, **kwargs)
        labels = task.label_dictionary
        if not cfg.regression_target and MARK in labels:
            task.mark = labels.index(MARK) - labels.nspecial
            task._label_dictionary = without_mark(labels)
        return task

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> Any:
        """Return the parent's dataset; exit with one line if a label is missing or cannot be predicted.

        A split whose name begins with "test" may have no labels.
        """
        if self.cfg.regression_target:
            self.check_numbers(Path(self.cfg.data, "label", f"{split}.label"))
        try:
            dataset = super().load_dataset(split, combine, **kwargs)
        except AssertionError as error:  # the parent's way to say that a file is missing or has other rows
            sys.exit(f"error: {self.cfg.data}, {split}: {error}")
        parts = getattr(dataset, "dataset", dataset).defn
        targets = parts.get("target")
        if targets is None and not split.startswith("test"):
            what = f"{split}.label, a number a line" if self.cfg.regression_target else f"{split}.bin"
            sys.exit(f"error: there are no labels {Path(self.cfg.data, 'label', what)}")
        if targets is not None and not self.cfg.regression_target:
            if self.mark is not None:
                parts["target"] = targets = MarkedClasses(targets, self.mark)
            marked = self.check_classes(targets, split)
            self.check_marks(marked, split)
            if marked.any() and split == self.cfg.train_subset:
                times = np.where(marked, int(self.takes_unlabeled), self.cfg.rdrop_upsample_labeled)
                seed = None if self.cfg.no_shuffle else self.cfg.seed
                dataset = self.datasets[split] = RowsAtTimes(dataset, times, seed)
        return dataset

    def check_numbers(self, file: Path) -> None:
        """Exit with one line unless each line of a file, if there is one, holds as many numbers as are predicted."""
        if not file.exists():
            return
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if len(line.split()) != self.cfg.num_classes or not all(map(is_finite, line.split())):
                count = f"{self.cfg.num_classes} finite number{'' if self.cfg.num_classes == 1 else 's'}"
                sys.exit(f"error: {file}, line {number}: must be {count} (--num-classes), not {line!r}")

    def check_marks(self, marked: np.ndarray, split: str) -> None:
        """Exit with one line if sentences without labels are where they must not be, or if there are no others."""
        if not marked.any() and not self.takes_unlabeled:
            return  # before a look at the settings, which a checkpoint of an earlier version lacks
        where = Path(self.cfg.data, "label", split)
        if split != self.cfg.train_subset:
            if marked.any():
                sys.exit(f"error: {where}, row {marked.argmax() + 1}: {MARK} is for {self.cfg.train_subset} alone")
        elif marked.all():
            sys.exit(f"error: {where}: every row is {MARK}; some must have a label")
        elif not marked.any():
            sys.exit(f"error: {where}: no row is {MARK}, and --rdrop-unlabeled-alpha is for such rows")
        elif not (self.takes_unlabeled or self.cfg.rdrop_skip_unlabeled):
            needs = "which needs --rdrop-unlabeled-alpha above 0, or --rdrop-skip-unlabeled"
            sys.exit(f"error: {where}: row {marked.argmax() + 1} is {MARK}, {needs}")

    def check_classes(self, targets: Any, split: str) -> np.ndarray:
        """Return which rows have the mark; exit with one line unless the others are classes that are predicted."""
        if targets.supports_prefetch:
            targets.prefetch(range(len(targets)))
        marked = np.zeros(len(targets), dtype=bool)
        for row in range(len(targets)):
            classes = targets[row].tolist()
            marked[row] = classes == [IGNORED]
            if not marked[row] and (len(classes) != 1 or not 0 <= classes[0] < self.cfg.num_classes):
                words = self.label_dictionary.symbols[self.label_dictionary.nspecial :][: self.cfg.num_classes]
                found = self.label_dictionary.string([one + self.label_dictionary.nspecial for one in classes])
                sys.exit(
                    f"error: {Path(self.cfg.data, 'label', split)}, row {row + 1}: the label must be one of the first "
                    f"{self.cfg.num_classes} (--num-classes) of the dictionary, {' '.join(words)}, not {found!r}"
                )
        return marked


def is_finite(text: str) -> bool:
    """Return whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
