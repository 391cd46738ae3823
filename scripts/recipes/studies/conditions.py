"""Beside which other runs and on what the runs of a study were trained: where that differs, their times do not compare.

A run folder keeps this, for each start of the training, in conditions.json.
"""

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from recipes.evaluation.curves import starts, starts_that_count
from recipes.files import write_whole
from recipes.training.run_folder import RunFolder
from recipes.versions import device_in

WRITE = 10  # seconds between two times at which a training's conditions are written,
FIRST = 1  # and between two looks at whether it has begun, so that a kill soon afterwards leaves them
ALIKE = 1.1  # numbers of runs at once compare if the averages over the time differ by no larger factor


@dataclass(frozen=True)
class Conditions:
    """What a training had to itself.

    Attributes:
        device: the name of the GPU, or else of the CPU.
        threads: how many threads of the CPU it was allowed, as OMP_NUM_THREADS says it.
        seconds: how long it trained under these conditions.
        runs: how many runs were at work, itself included, on average over this time.
        runs_on_device: how many of these runs used its GPU, on average; on the CPU it is all of them.
    """

    device: str
    threads: str
    seconds: float = 0.0
    runs: float = 1.0
    runs_on_device: float = 1.0

    def and_then(self, other: "Conditions") -> "Conditions":
        """Return the conditions of a training that went on with others on the same device with as many threads."""
        seconds = self.seconds + other.seconds
        if not seconds:
            return other
        runs, on_device = (
            (one * self.seconds + following * other.seconds) / seconds
            for one, following in ((self.runs, other.runs), (self.runs_on_device, other.runs_on_device))
        )
        return Conditions(self.device, self.threads, seconds, runs, on_device)

    def is_like(self, other: "Conditions") -> bool:
        """Return whether times under these and other conditions compare."""
        pairs = ((self.runs, other.runs), (self.runs_on_device, other.runs_on_device))
        same = (self.device, self.threads) == (other.device, other.threads)
        return same and all(max(pair) <= ALIKE * min(pair) for pair in pairs)

    def __str__(self) -> str:
        runs, shared = rounded(self.runs), rounded(self.runs_on_device)
        text = "one run at a time" if runs == "1" else f"{runs} runs at once"
        text += "" if shared == runs else f", {shared} of them on a GPU"
        threads = f"{self.threads} thread{'' if self.threads == '1' else 's'}{'' if runs == '1' else ' each'}"
        return f"{text}, with {threads}, on {self.device}"


def rounded(number: float) -> str:
    """Return a number of runs as a text, with one decimal unless that is 0."""
    return f"{round(number, 1):g}"


class Record:
    """Keep the conditions of a start of a training in its run folder, while it trains.

    Args:
        device: "gpu" or "cpu".
        threads: how many threads of the CPU it is allowed.
    """

    def __init__(self, run: RunFolder, device: str, threads: str) -> None:
        self.run, self.device = run, device
        self.log, self.before = identity(run), count_starts(run)
        self.found = Conditions(device, threads)
        self.next = time.monotonic() + FIRST

    def add(self, seconds: float, runs: int, on_device: int) -> None:
        """Note that it trained for some seconds, as one of `runs` at work; write that down from time to time."""
        found = self.found
        self.found = found.and_then(Conditions(found.device, found.threads, seconds, runs, on_device))
        if time.monotonic() > self.next:
            self.write()

    def write(self) -> None:
        """Write the conditions down as those of the last start in the log, if that is the one of this object."""
        number = count_starts(self.run)
        if identity(self.run) != self.log:  # train.sh has put the log of another config aside
            self.log, self.before = identity(self.run), 0
        self.next = time.monotonic() + (WRITE if number > self.before else FIRST)
        if number > self.before:
            text = self.run.versions.read_text(encoding="utf-8") if self.run.versions.exists() else ""
            found = replace(self.found, device=device_in(text, self.device))  # of this start, as train.sh has noted it
            records = read_records(self.run) | {str(number - 1): asdict(found)}
            with suppress(OSError):  # a full disk: the training says it itself, and the study goes on without these
                write_whole(self.run.conditions, json.dumps(records, indent=1) + "\n")


def identity(run: RunFolder) -> int | None:
    """Return what tells the log of a run from one that has been put aside, None if there is no log."""
    return run.log.stat().st_ino if run.log.exists() else None


def count_starts(run: RunFolder) -> int:
    """Return how many starts of a training the log has."""
    return len(starts(run.log)) if run.log.exists() else 0


def read_records(run: RunFolder) -> dict[str, Any]:
    """Return what a run folder holds of the conditions, by the numbers of the starts; nothing if it cannot be read."""
    try:
        found = json.loads(run.conditions.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def conditions_of(run: RunFolder) -> list[Conditions | None]:
    """Return the conditions of each start of a run whose updates count, None for one of which they are not known.

    Not known are those of a start by train.sh itself, and of one before studies recorded them.
    """
    records, found = read_records(run), list[Conditions | None]()
    for number in starts_that_count(starts(run.log)):
        try:
            found.append(Conditions(**records[str(number)]))
        except (KeyError, TypeError):
            found.append(None)
    return found


def summed_up(parts: Iterable[Conditions | None]) -> list[Conditions] | None:
    """Return the conditions of the parts of a training, one for each device and number of threads, None if unknown."""
    found: dict[tuple[str, str], Conditions] = {}
    for part in parts:
        if part is None:
            return None
        key = part.device, part.threads
        found[key] = found[key].and_then(part) if key in found else part
    return [found[key] for key in sorted(found)]


Trained = tuple[str, int, Sequence[Conditions | None]]  # entry, seed, and the conditions of the parts of its training
Members = list[tuple[str, int]]


def groups_alike(runs: Sequence[Trained]) -> tuple[list[tuple[list[Conditions], Members]], Members]:
    """Return the runs in groups of like conditions, with these, and the runs whose conditions are not known."""
    unknown: Members = []
    groups: list[tuple[list[Conditions], Members]] = []
    for entry, seed, parts in runs:
        found = summed_up(parts)
        if found is None:
            unknown.append((entry, seed))
            continue
        for others, members in groups:
            if len(found) == len(others) and all(map(Conditions.is_like, found, others)):
                members.append((entry, seed))
                break
        else:
            groups.append((found, [(entry, seed)]))
    return groups, unknown


def times_compare(runs: Sequence[Trained]) -> bool:
    """Return whether it is known of all runs that they were trained alike."""
    groups, unknown = groups_alike(runs)
    return len(groups) == 1 and not unknown


def note_on_times(runs: Sequence[Trained]) -> str:
    """Return how many runs were at work at once and on which device, and which of their times do not compare for that.

    It is a list in Markdown.
    """
    groups, unknown = groups_alike(runs)
    sizes = {entry: sum(entry == other for other, _, _ in runs) for entry, _, _ in runs}
    told = [(named(members, sizes), ", partly ".join(map(str, found))) for found, members in groups]
    lines = []
    if len(told) > 1:
        lines.append(
            f"Times of {' and of '.join(names for names, _ in told)} do not compare: they were not trained alike. "
            "What the table says of minutes where it mixes them is not reliable."
        )
        lines += [f"Trained {text}: {names}." for names, text in told]
    elif told:
        whose = "all runs" if not unknown else told[0][0]
        lines.append(f"Trained {told[0][1]}: {whose}.")
    if unknown:
        whose = named(unknown, sizes) if told else "all runs"
        lines.append(
            f"It is not known how many runs were at work at once, and on what: {whose}. Their times may not compare."
        )
    return "".join(f"- {line}\n" for line in lines)


def named(members: Members, sizes: dict[str, int]) -> str:
    """Return the names of runs: an entry alone stands for all its runs."""
    texts = []
    for entry in dict.fromkeys(entry for entry, _ in members):
        seeds = [str(seed) for of, seed in members if of == entry]
        texts.append(entry if len(seeds) == sizes[entry] else f"{entry} seed {', '.join(seeds)}")
    return ", ".join(texts)
