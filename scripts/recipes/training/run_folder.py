"""The one reader of a run folder, the folder that scripts/train.sh makes for a training."""

import re
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from recipes.cli import ROOT
from recipes.files import sha256
from recipes.training.settings import read, setting

TYPES = {str: "a text", bool: "true or false", int: "an integer", dict: "a section"}
# Which script evaluates which kind of run.
EVALUATE = {
    "translation": "scripts/evaluate_translation.sh",
    "summarization": "scripts/evaluate_summarization.sh",
    "language_model": "scripts/evaluate_lm.sh",
    "sentence_prediction": "scripts/evaluate_glue.sh",
}
DICTIONARIES = ("dict*.txt", "input0/dict.txt", "label/dict.txt")  # in binarized data; the others for sentences


def kind_of(task: str) -> str:
    """Return what a run trains: one of EVALUATE, or the name of its task if it is of another kind.

    Summarization is translation here; see `evaluated_as`.
    """
    if "language_modeling" in task:
        return "language_model"
    return next((kind for kind in ("translation", "sentence_prediction") if kind in task), task)


def evaluated_as(task: object, source_lang: object, target_lang: object) -> str:
    """Return which of EVALUATE a run is, or the name of its task.

    A translation from "source" to "target", as fairseq's recipes call a text and its summary, is summarization.
    """
    kind = kind_of(str(task))
    is_summary = kind == "translation" and (source_lang, target_lang) == ("source", "target")
    return "summarization" if is_summary else kind


def dictionaries_of(data: Path) -> list[Path]:
    """Return the dictionaries of binarized data."""
    return [file for pattern in DICTIONARIES for file in sorted(data.glob(pattern))]


def check_path(path: Path) -> Path:
    """Return a path. Exit if fairseq would read it as several paths, or as one that holds variables."""
    if ":" in str(path) or "${" in str(path):
        sys.exit(f"{path}: fairseq cannot read from a path with ':' or '${{'; move or rename the folder")
    return path


def checksums(data: Path) -> str:
    """Return the checksums of the dictionaries of binarized data, as sha256sum writes them."""
    return "".join(f"{sha256(file)}  {file.relative_to(data)}\n" for file in dictionaries_of(data))


class RunFolder:
    """The folder of one training run. What is wrong in it ends the program with one line that names the file.

    Nothing is read before it is asked for, so the folder does not have to exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path  # as it was given
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "checkpoint_best.pt"  # on the validation set
        self.last = self.checkpoints / "checkpoint_last.pt"
        self.log = path / "train.log"
        self.versions = path / "versions.txt"
        self.dictionaries = path / "dictionaries.txt"  # checksums of the dictionaries that the run is trained with
        self.train_yaml = path / "train.yaml"  # the config
        self.prepared = path / "prepared"  # what translating needs of the data
        self.start = path / "start.pt"  # the parameters that the run started with, if --from named a model
        self.started_from = path / "started_from.txt"  # the checksum and the path of that model's checkpoint
        self.conditions = path / "conditions.json"  # in a study: the device, and how many runs were at work on it
        self.finished = path / "finished.yaml"  # the limits of the training with which it has ended

    def __str__(self) -> str:
        return str(self.path)

    def saved(self) -> list[Path]:
        """Return all checkpoints that fairseq has saved."""
        return sorted(self.checkpoints.glob("checkpoint*.pt"))

    @cached_property
    def config(self) -> DictConfig:
        """The whole config of the run. Exit if the folder is no run folder."""
        if not self.train_yaml.is_file():
            sys.exit(f"{self.path} is no run folder of scripts/train.sh: it has no train.yaml")
        return read(self.train_yaml)

    def setting(self, key: str, kind: type, default: Any = None) -> Any:
        """Return a setting of the config, such as "task.data". Exit if it is not of this kind, one of TYPES."""
        value = setting(self.config, key, default, f"{self.train_yaml}, ")
        if value is not None and not isinstance(value, kind):
            sys.exit(f"{self.train_yaml}, {key}: must be {TYPES[kind]}, not {value}")
        return value

    @property
    def task(self) -> str:
        """The name of the run's task, "" if the config does not say it."""
        return self.setting("task._name", str) or ""

    @property
    def kind(self) -> str:
        """What the run trains: one of EVALUATE, or the name of the task if it is of another kind."""
        return kind_of(self.task)

    @property
    def next_step(self) -> str:
        """The command that evaluates the run, "" if there is none for its kind."""
        kind = evaluated_as(*(self.setting(f"task.{key}", str) for key in ("_name", "source_lang", "target_lang")))
        return f"{EVALUATE[kind]} {self.path}" if kind in EVALUATE else ""

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.setting("common.seed", int, 1)

    @property
    def data(self) -> Path:
        """The absolute path of the binarized data. Exit if the config has none, or one that fairseq cannot read.

        A relative path in a config starts at the repository.
        """
        data = self.setting("task.data", str)
        if not data:
            sys.exit(f"{self.train_yaml} does not say task.data")
        return check_path(ROOT / data)

    def evaluation(self, name: str) -> Path:
        """Return the folder that holds the scores of an evaluation, such as "best" or "average5"."""
        return self.path / "evaluation" / name

    @property
    def preparation(self) -> tuple[Path, Path]:
        """The folder that says how the data was prepared, and that of the dictionaries.

        They are in the run folder. Early versions of train.sh did not copy them: then they are those of the data.
        """
        if self.prepared.is_dir():
            return check_path(self.prepared), check_path(self.prepared / "bin")
        return self.data.parent, self.data

    def known_dictionaries(self) -> str:
        """Return the checksums of the dictionaries that the run was trained with, as sha256sum writes them.

        If the folder does not say them, they are those of the data.
        """
        if self.dictionaries.exists():
            return self.dictionaries.read_text(encoding="utf-8", errors="replace")
        return checksums(self.data)

    def check_dictionaries(self, folder: Path) -> None:
        """Exit if a dictionary in a folder is not that with which the run was trained, if the run folder says which."""
        if not self.dictionaries.exists():  # early versions of train.sh did not write it
            return
        for line in self.dictionaries.read_text(encoding="utf-8", errors="replace").splitlines():
            match = re.fullmatch(r"([0-9a-f]{64}) [ *]((?:input0/|label/)?dict\.(?:[\w-]+\.)?txt)", line)
            if not match:
                sys.exit(f"{self.dictionaries}: '{line}' is no line of sha256sum")
            dictionary = folder / match[2]
            if not dictionary.is_file() or sha256(dictionary) != match[1]:
                sys.exit(
                    f"{dictionary} is not the dictionary that {self.path} was trained with; "
                    "was the data prepared again?"
                )
