"""Choose the checkpoints that an evaluation uses: those of a run, of several runs, or a file of fairseq's."""

import argparse
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256 as digest
from pathlib import Path
from typing import Any

from recipes.cli import Parser, check_each_once, positive
from recipes.evaluation.bare_checkpoint import BareCheckpoint
from recipes.evaluation.safe_checkpoint import failure_in_one_line, load, model_settings
from recipes.files import own_folder, sha256
from recipes.quiet import quiet
from recipes.training.run_folder import RunFolder, check_path

LONGEST = 120  # characters of the name of an evaluation


class ModelParser(Parser):
    """A parser of the arguments that evaluations share: the model, and which of its checkpoints to use.

    It gives `runs`, the run folders (or what stands in their place), `run`, the first of them, `rest`, the words after
    them, and `results`, the folder for results: --out, or else `run`, which is the folder of a checkpoint in its place.

    Args:
        several: whether several runs may be given, which decode together.
        rest: whether other words may follow the runs. The first of them is no folder.
        out: whether --out says where results go.
    """

    def __init__(self, several: bool = False, rest: bool = False, out: bool = False) -> None:
        super().__init__()
        self.several, self.rest = several, rest
        self.add_argument("words", nargs="*", metavar="RUN")
        self.add_argument("--checkpoint", action="append", metavar="FILE")
        self.add_argument("--data", type=Path, metavar="BIN")
        which = self.add_mutually_exclusive_group()
        which.add_argument("--average", type=positive, metavar="N")
        which.add_argument("--average-best", type=positive, metavar="N")
        if out:
            self.add_argument("--out", type=lambda text: check_path(Path(text).resolve()), metavar="DIR")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return the arguments. Exit if they name no model, or name it in two ways."""
        found = self.parse_intermixed_args(args, namespace)
        words, files = found.words, found.checkpoint or []
        count = len(words)
        if self.rest:
            count = next((number for number, word in enumerate(words) if number and not Path(word).is_dir()), count)
            count = 0 if files else count if self.several else min(1, count)
        runs, found.rest = words[:count], words[count:]
        if files and runs:
            self.error(f"--checkpoint stands in place of RUN: leave out {runs[0]}")
        for word in runs:
            if Path(word).is_file():
                self.error(f"{word} is a file: give a run folder, or --checkpoint FILE --data BIN")
        if bool(files) != (found.data is not None):
            self.error("--checkpoint FILE and --data BIN go together")
        if not runs and not files:
            self.error("the following arguments are required: RUN, or --checkpoint FILE --data BIN")
        if len(runs + files) > 1 and not self.several:
            self.error(f"one model at a time, not {len(runs + files)}")
        found.runs = [RunFolder(check_path(Path(word).resolve())) for word in runs]
        found.runs += [BareCheckpoint(Path(file), found.data) for file in files]
        check_each_once([getattr(run, "given", run.path) for run in found.runs])
        if found.average or found.average_best:
            for run in found.runs:
                if isinstance(run, BareCheckpoint) and not run.is_folder:
                    self.error(f"--average needs the folder of the checkpoints, not {run}")
        found.run = found.runs[0]
        found.results = RunFolder(found.out) if getattr(found, "out", None) else found.run
        return found


@dataclass(frozen=True)
class Checkpoint:
    """Checkpoints that decode together, mostly one. Nobody changes them meanwhile, even if a training goes on."""

    paths: tuple[Path, ...]  # copies of the runs' checkpoints, or averages
    origin: str  # how messages call them
    name: str  # "best", "average5", "average_best5", "ensemble_seed1+seed2", ...
    facts: dict[str, Any]  # what the file of the scores says about them
    positions: tuple[int, int]  # how many tokens the model takes, of the source and of the target

    @property
    def path(self) -> Path:
        """The only checkpoint."""
        (path,) = self.paths
        return path

    @property
    def fairseq_path(self) -> str:
        """The checkpoints as fairseq's --path takes them."""
        return ":".join(map(str, self.paths))


@contextmanager
def chosen_checkpoint(args: argparse.Namespace) -> Iterator[Checkpoint]:
    """Give the checkpoints that the arguments of a ModelParser ask for. They are removed at the end."""
    count = args.average or args.average_best
    name = f"{'average' if args.average else 'average_best'}{count}" if count else "best"
    for run in args.runs:
        if not count and not run.best.exists():
            hint = "" if isinstance(run, BareCheckpoint) else "; has the run reached its first validation?"
            sys.exit(f"there is no {run.best}{hint}")
    folder = args.results.path
    if not hasattr(args, "out") and not os.access(folder, os.W_OK):  # no results go there, so it need not be writable
        folder = Path(tempfile.gettempdir())
    with own_folder(folder, "checkpoint") as temporary:
        held = []
        for number, run in enumerate(args.runs):
            path = temporary / f"checkpoint{number or ''}.pt"
            origin = f"{name} of {run.checkpoints}" if count else str(run.best)
            if count:
                from recipes.evaluation import average  # this import takes seconds

                with quiet():
                    paths = average.choose(run.checkpoints, count, "best" if args.average_best else None)
                    average.save(average.average(paths), path)
            else:
                _copy(run.best, path)
                if not zipfile.is_zipfile(path):
                    hint = "" if isinstance(run, BareCheckpoint) else "; --average N decodes without it"
                    sys.exit(f"{origin} is cut short{hint or ', or no checkpoint'}")
            of_file = isinstance(run, BareCheckpoint) and not run.is_folder
            held.append(_inspect(run, path, origin, run.best.stem if of_file else name))
        yield held[0] if len(held) == 1 else _together(args.runs, held, name)


def _copy(source: Path, copy: Path) -> None:
    """Copy a file. If it changes meanwhile, copy it again: fairseq writes its best checkpoint in place."""
    while True:
        before = source.stat()
        shutil.copyfile(source, copy)
        after = source.stat()
        if (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns):
            return


def _inspect(run: RunFolder, path: Path, origin: str, name: str) -> Checkpoint:
    """Return a checkpoint with what is known about it. Exit if fairseq cannot, or must not, build its model."""
    state = load(path, origin)
    settings = model_settings(state)
    source, target = (int(settings.get(f"max_{side}_positions") or 1024) for side in ("source", "target"))
    if run.kind == "translation":
        _check_vocabulary(state["model"], run, origin)
    updates = int(state["optimizer_history"][-1]["num_updates"])
    facts = {"checkpoint": name, "updates": updates, "checkpoint_sha256": sha256(path)}
    return Checkpoint((path,), origin, name, facts, (source, target))


def _check_vocabulary(model: dict[str, Any], run: RunFolder, origin: str) -> None:
    """Exit if the embeddings of a model have another number of entries than the dictionaries of the data."""
    for side, key in (("encoder", "source_lang"), ("decoder", "target_lang")):
        rows = [len(value) for name, value in model.items() if name == f"{side}.embed_tokens.weight"]
        dictionary = run.preparation[1] / f"dict.{run.setting(f'task.{key}', str)}.txt"
        if rows and dictionary.is_file():
            with failure_in_one_line(f"reading {dictionary}"):
                from fairseq.data import Dictionary

                entries = len(Dictionary.load(str(dictionary)))
            if rows != [entries]:
                sys.exit(
                    f"{origin} was trained with other dictionaries: its {side} has {rows[0]} entries, and {dictionary} "
                    f"{entries}; was the data prepared again?"
                )


def _together(runs: list[RunFolder], held: list[Checkpoint], name: str) -> Checkpoint:
    """Return the checkpoints of several runs as one ensemble. It is called by what tells the runs apart."""
    given = [Path(getattr(run, "given", run.path)) for run in runs]
    common = Path(os.path.commonpath([path.parent for path in given]))
    parts = "+".join(re.sub(r"[^\w.-]", "-", str(path.relative_to(common)).removesuffix(".pt")) for path in given)
    if len(parts) > LONGEST:
        parts = f"{len(runs)}_{digest(parts.encode()).hexdigest()[:12]}"
    called = f"ensemble_{parts}" + ("" if name == "best" else f"_{name}")
    facts = {"checkpoint": called, "ensemble": [str(path) for path in given]}
    facts |= {key: [checkpoint.facts[key] for checkpoint in held] for key in ("updates", "checkpoint_sha256")}
    source, target = (min(checkpoint.positions[side] for checkpoint in held) for side in (0, 1))
    origin = f"the ensemble of {' and '.join(checkpoint.origin for checkpoint in held)}"
    return Checkpoint(tuple(path for one in held for path in one.paths), origin, called, facts, (source, target))
