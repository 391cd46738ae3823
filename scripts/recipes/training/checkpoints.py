"""Where a run stands: its newest whole checkpoint, how far that has trained, and whether the run is finished."""

import logging
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from recipes.training.settings import LIMITS, read, setting

ROOT = Path(__file__).resolve().parents[3]
FINISHED = "finished.yaml"  # of a run folder: the limits with which its training has ended


@dataclass(frozen=True, order=True)
class Progress:
    """How far a checkpoint has trained."""

    updates: int
    epoch: int  # that training goes on with
    hours: float

    def has_reached(self, limits: dict[str, Any]) -> bool:
        """Whether it has reached one of the limits that can be told from a checkpoint."""
        most = {
            name: limits.get(f"optimization.{name}") or 0 for name in ("max_update", "max_epoch", "stop_time_hours")
        }
        return (
            0 < most["max_update"] <= self.updates
            or 0 < most["max_epoch"] < self.epoch
            or 0 < most["stop_time_hours"] < self.hours
        )


def progress_of(checkpoint: Path) -> Progress | None:
    """Return how far a checkpoint has trained; None where training cannot go on from it."""
    if not zipfile.is_zipfile(checkpoint):  # cut short, or not there: the index of torch's archives stands at their end
        return None
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    logging.disable(logging.INFO)  # fairseq's import tells of optional packages
    import rdrop_fairseq  # noqa: F401  (takes seconds; its safe globals let the checkpoints load)

    try:
        state = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)
        extra = state["extra_state"]
        if state.get("last_optimizer_state") is None:  # an average, or made without
            return None
        hours = extra.get("previous_training_time", 0) / 3600
        return Progress(state["optimizer_history"][-1]["num_updates"], extra["train_iterator"]["epoch"], hours)
    except (RuntimeError, UnpicklingError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def checkpoints_of(run: Path) -> list[Path]:
    """Return what fairseq has saved of a run."""
    return sorted((run / "checkpoints").glob("checkpoint*.pt"))


def limits_of(cfg: DictConfig) -> dict[str, Any]:
    """Return those limits of the training that a config sets."""
    return {key: value for key in LIMITS if (value := setting(cfg, key)) is not None}


def is_finished(cfg: DictConfig, run: Path) -> bool:
    """Whether training has ended with the limits of the config, or has gone as far as they say before."""
    if not checkpoints_of(run):
        return False
    ended = run / FINISHED
    if ended.exists() and OmegaConf.to_container(read(ended)) == limits_of(cfg):
        return True
    progress = progress_of(run / "checkpoints/checkpoint_last.pt")
    return progress is not None and progress.has_reached(limits_of(cfg))


def mend_last_checkpoint(run: Path) -> None:
    """Where the last checkpoint is missing or cut short, put the newest whole one in its place."""
    last = run / "checkpoints/checkpoint_last.pt"
    found = checkpoints_of(run)
    if not found or zipfile.is_zipfile(last):
        return
    whole = {path: progress for path in found if path != last and (progress := progress_of(path))}
    wrong = "is cut short (its run was killed while it was written)" if last.exists() else "is missing"
    if not whole:
        sys.exit(f"{last} {wrong}, and training can go on from no other checkpoint; delete {last.parent} to start anew")
    newest = max(whole, key=lambda path: whole[path])
    print(f"{last} {wrong}: going on from {newest.name}")
    copy = last.with_suffix(".part")
    shutil.copyfile(newest, copy)
    copy.rename(last)
