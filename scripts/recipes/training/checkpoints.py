"""How far a run has trained: its newest complete checkpoint, and whether the run is finished."""

import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipes.files import whole_file
from recipes.quiet import quiet
from recipes.training.run_folder import RunFolder
from recipes.training.settings import LIMITS, read, setting


@dataclass(frozen=True, order=True)
class Progress:
    """How far a checkpoint has trained."""

    updates: int
    epoch: int  # with which training goes on
    hours: float

    def has_reached(self, limits: dict[str, Any]) -> bool:
        """Return whether it has reached a limit. Not all limits can be told from a checkpoint."""
        most = {
            name: limits.get(f"optimization.{name}") or 0 for name in ("max_update", "max_epoch", "stop_time_hours")
        }
        return (
            0 < most["max_update"] <= self.updates
            or 0 < most["max_epoch"] < self.epoch
            or 0 < most["stop_time_hours"] < self.hours
        )


def progress_of(checkpoint: Path) -> Progress | None:
    """Return how far a checkpoint has trained, None if training cannot go on from it."""
    if not zipfile.is_zipfile(checkpoint):  # missing or cut short: the index of torch's archives stands at their end
        return None
    with quiet():  # only here, because both take seconds
        import torch

        import rdrop_fairseq  # noqa: F401  (it names what checkpoints may hold, so that they load)

    try:
        state = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)
        extra = state["extra_state"]
        if state.get("last_optimizer_state") is None:  # an average of checkpoints, or one saved without it
            return None
        hours = extra.get("previous_training_time", 0) / 3600
        return Progress(state["optimizer_history"][-1]["num_updates"], extra["train_iterator"]["epoch"], hours)
    except (RuntimeError, UnpicklingError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def checkpoints_of(run: RunFolder) -> list[Path]:
    """Return all checkpoints that fairseq has saved of a run."""
    return sorted(run.checkpoints.glob("checkpoint*.pt"))


def limits_of(cfg: DictConfig) -> dict[str, Any]:
    """Return the limits of the training that a config sets."""
    return {key: value for key in LIMITS if (value := setting(cfg, key)) is not None}


def finished_file(run: RunFolder) -> Path:
    """Return the path of the file that says with which limits the training of a run has ended."""
    return run.path / "finished.yaml"


def is_finished(cfg: DictConfig, run: RunFolder) -> bool:
    """Return whether training has ended with the limits of the config, or had gone that far before."""
    if not checkpoints_of(run):
        return False
    ended = finished_file(run)
    if ended.exists() and OmegaConf.to_container(read(ended)) == limits_of(cfg):
        return True
    progress = progress_of(run.last)
    return progress is not None and progress.has_reached(limits_of(cfg))


def mend_last_checkpoint(run: RunFolder) -> None:
    """Put the newest complete checkpoint in the place of the last one if that is missing or cut short."""
    found = checkpoints_of(run)
    if not found or zipfile.is_zipfile(run.last):
        return
    whole = {path: progress for path in found if path != run.last and (progress := progress_of(path))}
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
