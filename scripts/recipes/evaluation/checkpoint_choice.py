"""Choose the checkpoint of a run that an evaluation uses, and check that it is safe to load."""

import argparse
import ast
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from recipes.cli import Parser, positive
from recipes.files import own_folder, sha256
from recipes.quiet import quiet
from recipes.training.run_folder import RunFolder, check_path
from recipes.training.settings import in_one_line

# fairseq gives these settings of its models to Python's eval.
EVALUATED = {
    *("encoder_layers", "decoder_layers", "encoder_attention", "decoder_attention", "self_attention"),
    *("project_input", "gated_attention", "downsample", "pretrained", "character_filters", "conv_feature_layers"),
}
FURTHER = re.compile(r"w2v_path|\w*pretrained_\w+")  # settings of fairseq's models that name another checkpoint


@contextmanager
def failure_in_one_line(what: str) -> Iterator[None]:
    """Exit with "WHAT failed: ..." in one line if fairseq fails inside a with statement. Hide what it logs."""
    try:
        with quiet():
            yield
    except Exception as error:
        sys.exit(f"{what} failed: {in_one_line(error)}")


def parser() -> Parser:
    """Return a parser for the arguments that all evaluations share: the run, and which of its checkpoints to use."""
    made = Parser()
    made.add_argument("run", type=lambda text: RunFolder(check_path(Path(text).resolve())), metavar="RUN")
    which = made.add_mutually_exclusive_group()
    which.add_argument("--average", type=positive, metavar="N")
    which.add_argument("--average-best", type=positive, metavar="N")
    return made


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that nobody changes while it is evaluated, even if the training goes on."""

    path: Path  # a copy of the run's checkpoint, or an average
    origin: str  # how messages call the checkpoint
    name: str  # "best", "average5", "average_best5", ...
    facts: dict[str, Any]  # what the file of the scores says about the checkpoint
    positions: tuple[int, int]  # how many tokens the model takes, of the source and of the target


@contextmanager
def chosen_checkpoint(args: argparse.Namespace) -> Iterator[Checkpoint]:
    """Give the checkpoint that the arguments of `parser` ask for. It is removed at the end."""
    run, count = args.run, args.average or args.average_best
    name = f"{'average' if args.average else 'average_best'}{count}" if count else "best"
    if not count and not run.best.exists():
        sys.exit(f"there is no {run.best}; has the run reached its first validation?")
    with own_folder(run.path, "checkpoint") as temporary:
        held = temporary / "checkpoint.pt"
        origin = f"{name} of {run.checkpoints}" if count else str(run.best)
        if count:
            from recipes.evaluation import average  # this import takes seconds

            with quiet():
                paths = average.choose(run.checkpoints, count, "best" if args.average_best else None)
                average.save(average.average(paths), held)
        else:
            _copy(run.best, held)
            if not zipfile.is_zipfile(held):
                sys.exit(f"{origin} is cut short; --average N decodes without it")
        yield _inspect(held, origin, name)


def _copy(source: Path, copy: Path) -> None:
    """Copy a file. If it changes meanwhile, copy it again: fairseq writes its best checkpoint in place."""
    while True:
        before = source.stat()
        shutil.copyfile(source, copy)
        after = source.stat()
        if (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns):
            return


def _inspect(path: Path, origin: str, name: str) -> Checkpoint:
    """Return a checkpoint with what is known about it. Exit if fairseq cannot, or must not, build its model."""
    with failure_in_one_line(f"loading {origin}"):
        import torch

        import rdrop_fairseq.tasks  # noqa: F401  (registers all; PyTorch loads checkpoints of fairseq only after it)

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
        source, target = (int(settings.get(f"max_{side}_positions") or 1024) for side in ("source", "target"))
        facts = {"checkpoint": name, "updates": updates, "checkpoint_sha256": sha256(path)}
        return Checkpoint(path, origin, name, facts, (source, target))


def _items(section: Any) -> dict[str, Any]:
    """Return the settings in a section of a checkpoint's config. fairseq stores sections in two forms."""
    section = vars(section) if isinstance(section, argparse.Namespace) else section
    return dict(section) if isinstance(section, Mapping) else {}


def _texts(section: Any) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each setting that is a text, in inner sections too."""
    for key, value in _items(section).items():
        if isinstance(value, str):
            yield str(key), value
        yield from _texts(value)


def _is_arithmetic(text: str) -> bool:
    """Return whether a Python expression holds only literals, lists, + and *, as "[(512, 3)] * 4" does."""
    allowed = (ast.Expression, ast.List, ast.Tuple, ast.Constant, ast.BinOp, ast.Add, ast.Mult, ast.UnaryOp, ast.USub)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, (*allowed, ast.Load)) for node in ast.walk(tree))
