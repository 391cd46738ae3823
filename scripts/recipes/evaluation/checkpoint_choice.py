"""What each evaluation of a run needs: its config, its data, its checkpoint, a folder for results that is whole."""

import argparse
import ast
import logging
import re
import shutil
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.cli import Parser, positive
from recipes.files import own_folder, sha256

KINDS = {str: "a text", bool: "true or false", int: "an integer", dict: "a section"}
POSITIONS = 1024  # fairseq's default
# Settings of its models that fairseq gives to Python's eval, and those that name a further checkpoint.
EVALUATED = {
    *("encoder_layers", "decoder_layers", "encoder_attention", "decoder_attention", "self_attention"),
    *("project_input", "gated_attention", "downsample", "pretrained", "character_filters", "conv_feature_layers"),
}
FURTHER = re.compile(r"w2v_path|\w*pretrained_\w+")
logging.disable(logging.INFO)  # fairseq's: optional packages, a page of settings


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line."""
    return " ".join(str(error).split()) or repr(error)


@contextmanager
def failure_in_one_line(what: str) -> Iterator[None]:
    """Exit with one line if fairseq or torch fails; their own warnings and messages are not shown."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        sys.exit(f"{what} failed: {one_line(error)}")
    finally:
        logging.disable(before)


def read_config(folder: Path) -> DictConfig:
    """Return the config of a run that scripts/train.sh made; exit if it is none."""
    path = folder / "train.yaml"
    if not path.is_file():
        sys.exit(f"{folder} is no run folder of scripts/train.sh: it has no train.yaml")
    try:
        config = OmegaConf.load(path)
    except Exception as error:  # of YAML, of the encoding, of omegaconf, of Python's dates and recursion
        sys.exit(f"{path} cannot be read: {one_line(error)}")
    if not isinstance(config, DictConfig):
        sys.exit(f"{path} is no config: it holds a list")
    return config


def setting(folder: Path, config: DictConfig, key: str, kind: type, default: Any = None) -> Any:
    """Return a setting of a run's config, a section as a dictionary; exit if it is not of the kind."""
    try:
        value = OmegaConf.select(config, key, default=default)
        if isinstance(value, DictConfig | ListConfig):
            value = OmegaConf.to_container(value, resolve=True)
    except OmegaConfBaseException as error:
        sys.exit(f"{folder}/train.yaml, {key}: {str(error).splitlines()[0]}")
    if value is not None and not isinstance(value, kind):
        sys.exit(f"{folder}/train.yaml, {key}: must be {KINDS[kind]}, not {value}")
    return value


def check_path(path: Path) -> Path:
    """Return a path; exit if fairseq would take it for several, or for one with variables."""
    if ":" in str(path) or "${" in str(path):
        sys.exit(f"{path}: fairseq cannot read from a path with ':' or '${{'; move or rename the folder")
    return path


def check_dictionaries(folder: Path, binarized: Path) -> None:
    """Exit if a dictionary of the data is not the one that the run was trained with, where the run says which."""
    kept = folder / "dictionaries.txt"
    if not kept.exists():  # made before train.sh wrote it
        return
    for line in kept.read_text(encoding="utf-8", errors="replace").splitlines():
        match = re.fullmatch(r"([0-9a-f]{64}) [ *](dict\.(?:[\w-]+\.)?txt)", line)
        if not match:
            sys.exit(f"{kept}: '{line}' is no line of sha256sum")
        dictionary = binarized / match[2]
        if not dictionary.is_file() or sha256(dictionary) != match[1]:
            sys.exit(f"{dictionary} is not the dictionary that {folder} was trained with; was the data prepared anew?")


def parser(description: str | None) -> Parser:
    """Return a parser of the arguments that say which run, and which of its checkpoints, is evaluated."""
    made = Parser(description)
    made.add_argument("run", type=Path, metavar="RUN")
    which = made.add_mutually_exclusive_group()
    which.add_argument("--average", type=positive, metavar="N")
    which.add_argument("--average-best", type=positive, metavar="N")
    return made


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that stays as it is while it is evaluated, whatever the training does meanwhile."""

    path: Path  # of the copy, or of the average
    origin: str  # how messages call it
    name: str  # best, average5, average_best5
    updates: int
    checksum: str
    positions: tuple[int, int]  # how many tokens of source and target its model takes

    @property
    def facts(self) -> dict[str, Any]:
        """What a score says of it."""
        return {"checkpoint": self.name, "updates": self.updates, "checkpoint_sha256": self.checksum}


@contextmanager
def chosen_checkpoint(args: argparse.Namespace) -> Iterator[Checkpoint]:
    """Give the checkpoint that the arguments of `parser` ask for."""
    folder = check_path(args.run.resolve())
    checkpoints = folder / "checkpoints"
    best = checkpoints / "checkpoint_best.pt"
    if args.average:
        name = f"average{args.average}"
    else:
        name = f"average_best{args.average_best}" if args.average_best else "best"
    if name == "best" and not best.exists():
        sys.exit(f"there is no {best}; has the run reached its first validation?")
    with own_folder(folder, "checkpoint") as temporary:
        held = temporary / "checkpoint.pt"
        if name == "best":
            origin = str(best)
            _copy(best, held)
            if not zipfile.is_zipfile(held):
                sys.exit(f"{best} is cut short; --average N decodes without it")
        else:
            from recipes.evaluation import average as averaging

            origin = f"{name} of {checkpoints}"
            choose = averaging.best_checkpoints if args.average_best else averaging.last_checkpoints
            averaging.save(averaging.average(choose(checkpoints, args.average or args.average_best)), held)
        yield _inspect(held, origin, name)


def _copy(source: Path, copy: Path) -> None:
    """Copy a file; if it is being written meanwhile (fairseq writes its best checkpoint in place), do so again."""
    while True:
        before = source.stat()
        shutil.copyfile(source, copy)
        after = source.stat()
        if (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns):
            return


def _inspect(path: Path, origin: str, name: str) -> Checkpoint:
    """Return what is known of a checkpoint; exit if fairseq cannot or should not build its model."""
    with failure_in_one_line(f"loading {origin}"):
        import torch

        import rdrop_fairseq  # noqa: F401  (registers the tasks, lets the checkpoints load)

        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except UnpicklingError:
            sys.exit(f"{origin} is not loaded: it holds more than weights and settings, which could be a program")
        try:
            args = state.get("args")
            settings = _items(args if args is not None else state["cfg"]["model"])
            updates = int(state["optimizer_history"][-1]["num_updates"])
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            settings = {}
        if not settings:
            sys.exit(f"{origin} is no checkpoint of fairseq")
        for key, value in _texts(settings):
            if "${" in value or (key in EVALUATED and not _is_arithmetic(value)):
                sys.exit(f"{origin} is refused: fairseq could run its {key} as a program: {' '.join(value.split())}")
            if FURTHER.fullmatch(key) and value not in ("", "None", "False"):
                sys.exit(f"{origin} is refused: its {key} names another checkpoint, {' '.join(value.split())}")
        source, target = (int(settings.get(f"max_{side}_positions") or POSITIONS) for side in ("source", "target"))
        return Checkpoint(path, origin, name, updates, sha256(path), (source, target))


def _items(section: Any) -> dict[str, Any]:
    """Return the settings of a section of a checkpoint's config, which fairseq keeps in one of two ways."""
    if isinstance(section, argparse.Namespace):
        return vars(section)
    return dict(section) if isinstance(section, Mapping) else {}


def _texts(section: Any) -> Iterator[tuple[str, str]]:
    """Yield the settings that are texts, with their names, those of inner sections too."""
    for key, value in _items(section).items():
        if isinstance(value, str):
            yield str(key), value
        yield from _texts(value)


def _is_arithmetic(text: str) -> bool:
    """Whether a text of Python is made of literals, lists, + and * alone, as in "[(512, 3)] * 4"."""
    allowed = (ast.Expression, ast.List, ast.Tuple, ast.Constant, ast.BinOp, ast.Add, ast.Mult, ast.UnaryOp, ast.USub)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, (*allowed, ast.Load)) for node in ast.walk(tree))
