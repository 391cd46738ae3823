"""How far a run has trained: its newest complete checkpoint, and whether the run is finished."""

import shutil
import sys
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from recipes.files import whole_file, write_whole
from recipes.quiet import quiet
from recipes.training.run_folder import RunFolder
from recipes.training.settings import LIMITS, read, setting


class Progress(NamedTuple):
    """How far a checkpoint has trained."""

    updates: int
    epoch: int  # with which training goes on
    hours: float


def load_state(checkpoint: Path | IO[bytes]) -> Any:
    """Return what a checkpoint holds, on the CPU. Raise what torch.load raises if it is no checkpoint, or is unsafe."""
    with quiet():  # only here, because both take seconds
        import torch

        import rdrop_fairseq.tasks  # noqa: F401  (with fairseq it names what checkpoints may hold, so that they load)

    return torch.load(checkpoint, map_location="cpu", mmap=isinstance(checkpoint, Path), weights_only=True)


def progress_of(checkpoint: Path) -> Progress | None:
    """Return how far a checkpoint has trained, None if training cannot go on from it."""
    if not zipfile.is_zipfile(checkpoint):  # missing or cut short: the index of torch's archives stands at their end
        return None
    try:
        state = load_state(checkpoint)
        extra = state["extra_state"]
        if state.get("last_optimizer_state") is None:  # an average of checkpoints, or one saved without it
            return None
        hours = extra.get("previous_training_time", 0) / 3600
        return Progress(state["optimizer_history"][-1]["num_updates"], extra["train_iterator"]["epoch"], hours)
    except (RuntimeError, UnpicklingError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def limits_of(cfg: DictConfig) -> dict[str, Any]:
    """Return the limits of the training that a config sets."""
    return {key: value for key in LIMITS if (value := setting(cfg, key)) is not None}


def is_finished(cfg: DictConfig, run: RunFolder) -> bool:
    """Return whether training has ended with the limits of the config, or had gone that far before."""
    if not run.saved():
        return False
    limits = limits_of(cfg)
    if run.finished.exists() and OmegaConf.to_container(read(run.finished)) == limits:
        return True
    progress = progress_of(run.last)
    if progress is None:
        return False
    updates, epochs, hours = (
        limits.get(f"optimization.{name}") or 0 for name in ("max_update", "max_epoch", "stop_time_hours")
    )
    return 0 < updates <= progress.updates or 0 < epochs < progress.epoch or 0 < hours < progress.hours


def note_finished(cfg: DictConfig, run: RunFolder) -> None:
    """Write down that the training of a run has ended, and with which limits."""
    write_whole(run.finished, OmegaConf.to_yaml(OmegaConf.create(limits_of(cfg))))


def mend_last_checkpoint(run: RunFolder) -> None:
    """Put the newest complete checkpoint in the place of the last one if that is missing or cut short."""
    if not run.saved() or zipfile.is_zipfile(run.last):
        return
    whole = {path: progress for path in run.saved() if (progress := progress_of(path))}
    wrong = "is cut short (its run was killed while it was written)" if run.last.exists() else "is missing"
    if not whole:
        sys.exit(
            f"{run.last} {wrong}, and training can go on from no other checkpoint; "
            f"delete {run.checkpoints} to start from nothing"
        )
    newest = max(whole, key=lambda path: whole[path])
    print(f"{run.last} {wrong}: going on from {newest.name}")
    with whole_file(run.last) as part:
        shutil.copyfile(newest, part)
