"""How far the runs of a study are, and how long the rest takes if it goes on as fast."""

import re
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from recipes.evaluation.curves import hours_in
from recipes.studies.plan import Training
from recipes.training.settings import setting

TRAINING = 0.9  # of the time of a run; the rest is for its evaluation
TAIL = 16384  # bytes at the end of a log, in which its last update stands
UPDATE = re.compile(rb'num_updates": "(\d+)"')
# How many epochs are done: in an epoch fairseq logs it as "update", with the part of the epoch, and at its end not.
EPOCH = re.compile(rb'"update": ([\d.]+)|\[train\]\[INFO\] - \{"epoch": (\d+)')


class Clock:
    """How much of a study is done, and how long the rest takes if it goes on as fast."""

    def __init__(self, trainings: Sequence[Training], done: Sequence[Training]) -> None:
        self.trainings = trainings
        self.begin = time.monotonic()
        self.before = self.share(done)

    def share(self, done: Sequence[Training]) -> float:
        """Return how many runs have been trained and scored, each counted by the part of it that is done."""
        return sum(1 if training in done else TRAINING * trained(training) for training in self.trainings)

    def state(self, done: Sequence[Training], failed: dict[Training, str]) -> str:
        """Say how many runs are done, have failed and are left, and the estimate."""
        left = [training for training in self.trainings if training not in done and training not in failed]
        text = f"{len(done)} of {len(self.trainings)} runs done, {len(left)} left"
        text += f", {len(failed)} failed" if failed else ""
        missing = sum(1 - TRAINING * trained(training) for training in left)
        gained = self.share(done) - self.before
        if left and gained > 0:
            seconds = (time.monotonic() - self.begin) * missing / gained
            text += f", about {timedelta(seconds=round(seconds))} to go"
        return f"{text}."


def trained(training: Training) -> float:
    """Return how much of a run has been trained, from 0 to 1: of the limit that it reaches first, 0 without a limit."""
    run, recipe = training.run, training.recipe
    if run.finished.exists():
        return 1
    of: dict[str, Callable[[Path], float]] = {
        "max_update": last_update,
        "max_epoch": last_epoch,
        "stop_time_hours": hours_in,
    }
    limits = ((name, setting(recipe, f"optimization.{name}")) for name in of)
    shares = (of[name](run.log) / limit for name, limit in limits if isinstance(limit, int | float) and limit > 0)
    return min(1, max(shares, default=0))


def tail(log: Path) -> bytes:
    """Return the end of a log, nothing if there is none."""
    if not log.exists():
        return b""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL))
        return file.read()


def last_update(log: Path) -> int:
    """Return the last update that a log names, 0 if there is none."""
    found = UPDATE.findall(tail(log))
    return int(found[-1]) if found else 0


def last_epoch(log: Path) -> float:
    """Return how many epochs are done at the end of a log, with the part of the last one."""
    found = EPOCH.findall(tail(log))
    return float(found[-1][0] or found[-1][1]) if found else 0
