"""Read the log of a training run, and draw the curves of several runs."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from recipes.evaluation.measures import ON_VALIDATION
from recipes.figure import draw_figure
from recipes.training.ranks import PAUSED

LOGGED = re.compile(r"\[(valid|train_inner|train)\]\[INFO\] - (\{.*\})$")
SAVED = re.compile(r" - Saved checkpoint .* @ (\d+) updates, score ([-+.\w]+)\) \(writing took ")
STARTED = re.compile(r" - (?:No existing checkpoint found |Loaded checkpoint .*\(epoch \d+ @ (\d+) updates\)$)")
VALIDATES = "begin validation on"
TIME = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+)\]")
COLORS = ("tab:gray", "tab:blue", "tab:orange", "tab:green")

Numbers = dict[int, dict[str, float]]  # what was logged at an update, by the number of the update


def read_log(log: Path) -> dict[str, Numbers]:
    """Return the numbers that fairseq logged about the updates that count.

    They are those of validations ("valid"), of some updates in between ("train_inner"), of the ends of epochs ("train")
    and of checkpoints ("saved", with the key "score"). In "train_inner" two keys are added: "interval", how many
    updates the numbers sum up, and "paused", the seconds in these updates in which the run stood still. If a training
    goes on from a checkpoint, what was logged before about later updates does not count. What was logged after the last
    checkpoint does.
    """
    found: dict[str, Numbers] = {"valid": {}, "train_inner": {}, "train": {}, "saved": {}}
    summed = 0  # the last update that is part of a sum in the log
    paused, saved_paused, validates = 0.0, dict[int, float](), False  # since that update; by checkpoints
    for line in log.read_text(encoding="utf-8", errors="replace").split("\n"):
        if match := STARTED.search(line):
            start = int(match[1] or -1)
            found = {tag: {at: of for at, of in logs.items() if at <= start} for tag, logs in found.items()}
            # A checkpoint within an epoch holds the sums that fairseq has begun. One at the end of an epoch does not.
            at_end = start in found["train"]
            summed = start if at_end else max(found["train_inner"], default=0)
            paused, validates = 0.0 if at_end else saved_paused.get(start, 0.0), False
        elif match := PAUSED.search(line):
            paused += 0 if validates else float(match[1])
        elif VALIDATES in line:
            validates = True
        elif match := SAVED.search(line):
            saved_paused[int(match[1])] = paused
            with suppress(ValueError):  # the score is "None" if there was no validation
                found["saved"][int(match[1])] = {"score": float(match[2])}
        elif match := LOGGED.search(line):
            tag, prefix = match[1], "" if match[1] == "train_inner" else f"{match[1]}_"
            try:
                logged = json.loads(match[2]).items()  # a list is what the predictions leave behind
                values = {key.removeprefix(prefix): float(of) for key, of in logged if not isinstance(of, list)}
                update = int(values["num_updates"])
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                continue  # a killed process left a part of a line, and the next start wrote on behind it
            found[tag][update] = values
            validates &= tag != "valid"
            if tag == "train_inner":
                values["interval"] = update - summed
                # A pause longer than the updates came while data or checkpoints were read.
                values["paused"] = paused if paused <= values.get("train_wall", 0.0) else 0.0
                summed, paused = update, 0.0
    return found


def training_loss(inner: Numbers, updates: Iterable[int]) -> dict[int, float]:
    """Return the mean negative log-likelihood in bits of training between each of these updates and the one before.

    It is that with dropout, and for R-Drop the mean over the passes. Where nothing was logged in between, it is absent,
    and so it is where the loss is no negative log-likelihood by token: then no perplexity was logged either.
    """
    found, before = {}, 0
    for update in updates:
        logged = [of for at, of in inner.items() if before < at <= update and "ppl" in of]
        losses = [of.get("nll_loss", of["loss"]) for of in logged]  # some language models log the loss alone
        if losses:
            found[update] = mean(losses)
        before = update
    return found


def seconds(inner: Numbers, updates: Iterable[int]) -> tuple[dict[int, float], float]:
    """Return how many seconds the run had trained at each of these updates, and how many it was paused before the last.

    fairseq's clock goes on while its process is paused, so the pauses that train.sh has noted are subtracted.
    Updates between two entries of "train_inner", or after the last one, count with the seconds of their interval.
    """
    sums = {at: of for at, of in sorted(inner.items()) if of["interval"] > 0}
    times = {at: (of.get("train_wall", 0.0) - of["paused"]) / of["interval"] for at, of in sums.items()}
    paused = sum(of["paused"] for of in sums.values())
    trained = {}
    for update in updates:
        total, last, time = 0.0, 0, 0.0
        for at, time in times.items():
            total += (min(at, update) - min(last, update)) * time
            last = at
        trained[update] = total + max(0, update - last) * time
    return trained, paused


def starts(log: Path) -> list[int]:
    """Return for each start of a training the update from which it went on, -1 for one from nothing."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return [int(match[1] or -1) for line in lines if (match := STARTED.search(line))]


def starts_that_count(starts: Sequence[int]) -> list[int]:
    """Return the numbers, from 0, of the starts whose updates were not trained again by a later one."""
    kept = list[int]()
    for number, start in enumerate(starts):
        kept = [*(other for other in kept if starts[other] < start), number]
    return kept


def hours_in(log: Path) -> float:
    """Return the hours of a training with its validations, as fairseq limits them by stop_time_hours.

    Like fairseq, count from each start to the last line that counts, without the time that a checkpoint does not have.
    """
    hours, begin, before, saved = 0.0, None, 0.0, dict[int, float]()
    for line in log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else ():
        if not (time := TIME.match(line)):
            continue
        now = datetime.fromisoformat(time[1].replace(",", ".")).timestamp() / 3600
        if match := STARTED.search(line):
            begin, before = now, saved.get(int(match[1] or -1), 0.0)
        elif begin is not None and (LOGGED.search(line) or SAVED.search(line)):
            hours = before + now - begin
            if match := SAVED.search(line):
                saved[int(match[1])] = hours
    return hours


def best_update(saved: Numbers, maximize: bool) -> int | None:
    """Return the update of checkpoint_best.pt. Like fairseq, choose the last of equal scores, and never NaN."""
    best, chosen = -math.inf if maximize else math.inf, None
    for update, logs in sorted(saved.items()):
        best = max(logs["score"], best) if maximize else min(logs["score"], best)
        if logs["score"] == best:
            chosen = update
    return chosen


def plot(runs: list[dict[str, Any]], path: Path) -> None:
    """Draw validation loss, and the score that counts, over updates and over training time, as in the paper's figure 2.

    If matplotlib is not installed, print a line, and remove an earlier figure.
    """
    loss = ("loss", "validation loss (bits)")
    key = next(key for key in ON_VALIDATION if key in runs[0]["curve"][0])
    score = (key, f"validation {ON_VALIDATION[key]}")
    colors = dict(zip(dict.fromkeys(run["name"] for run in runs), COLORS * len(runs), strict=False))
    over = (("update", "update", 1), ("seconds", "training time (minutes)", 60))

    def draw(figure: Any) -> None:
        axes = figure.subplots(2, 2)
        for axis, ((y, label), (x, unit, scale)) in zip(axes.flat, product((loss, score), over), strict=True):
            for number, run in enumerate(runs):
                named = run["name"] not in [other["name"] for other in runs[:number]]
                points = [(point[x] / scale, point[y]) for point in run["curve"]]
                axis.plot(*zip(*points, strict=True), color=colors[run["name"]], label=run["name"] if named else None)
            axis.set(xlabel=unit, ylabel=label)
            axis.grid(alpha=0.3)
        axes[0][0].legend()

    draw_figure(path, (10, 7), draw)
