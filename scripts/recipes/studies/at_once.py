"""Train and evaluate the runs of a study, as many at once as the hardware holds, by the scripts that a user types."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence

import torch

from recipes import children
from recipes.cli import ROOT, cores, if_interrupted, warn
from recipes.evaluation.score import read_scores
from recipes.files import read_lines, sha256
from recipes.studies.conditions import Record
from recipes.studies.plan import Training
from recipes.studies.progress import Clock, last_update
from recipes.training.run_folder import EVALUATE, RunFolder

INTERVAL = 60  # seconds between two lines of progress
AGAIN = "the same command goes on where it was"
PATIENCE = 15  # seconds that a process which is told to end has until it is killed


def command_of(script: str) -> list[str]:
    """Return what the last line of a script starts: its module in recipes, and the packages that this needs."""
    words = read_lines(ROOT / script)[-1].partition('/start.sh" ')[2].partition(" -- ")[0].split()
    if not words:
        raise ValueError(f"the last line of {script} starts no module")
    return words


def slots_of(jobs: int | None, cpu: bool) -> list[str | None]:
    """Return for each run that may be at work at once the GPU that it uses, None for the CPU.

    Without `jobs` there is a run for each GPU that this machine shows, or for each core if it shows none.
    """
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = 0 if cpu else torch.cuda.device_count()
    gpus = (shown.split(",") if shown else [str(number) for number in range(found)])[:found]
    return [gpus[number % len(gpus)] if gpus else None for number in range(jobs or len(gpus) or cores())]


def is_scored(run: RunFolder) -> bool:
    """Return whether the test sets have been scored with the checkpoint that is the best one now."""
    if not any(run.evaluation("best").glob("*.json")):
        return False
    try:
        found = {scored.get("checkpoint_sha256") for scored in read_scores(run, "best").values()}
    except SystemExit:  # they cannot be read
        return False
    return run.best.exists() and found == {sha256(run.best)}


class Work:
    """A run at work: its training, and then its evaluation, in a process that ends with this one."""

    def __init__(self, training: Training, slot: str | None, threads: str) -> None:
        self.training, self.slot, self.threads = training, slot, threads
        self.env = {**os.environ, "OMP_NUM_THREADS": threads}
        if slot is not None:
            self.env["CUDA_VISIBLE_DEVICES"] = slot
        self.stages: list[list[str]] = []
        if not training.is_finished():
            self.stages.append(["scripts/train.sh", *training.arguments()])
        self.stages.append([EVALUATE[training.run_kind], str(training.run)])
        self.process: subprocess.Popen[bytes] | None = None
        self.record: Record | None = None  # while it trains
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  (it is open as long as this object is used)

    def __str__(self) -> str:
        update = last_update(self.training.run.log)
        return f"{self.training} ({f'update {update}' if self.stages else 'being scored'})"

    def has_ended(self) -> bool:
        """Start the next stage if the last one has ended well. Return whether none is left, or one has failed."""
        status = self.process.poll() if self.process else 0
        if status is None:
            return False
        self.write_record()
        if status or not self.stages:
            return True
        script, *arguments = self.stages.pop(0)
        if self.stages:  # after the training comes its evaluation
            self.record = Record(self.training.run, "gpu" if self.slot is not None else "cpu", self.threads)
        words = [str(ROOT / script), *command_of(script), "--", *arguments]
        self.errors.seek(0)
        self.errors.truncate()
        self.process = subprocess.Popen(
            children.command("recipes.start", *words),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a training writes train.log, an evaluation its files
            stderr=self.errors,
        )
        return False

    def write_record(self) -> None:
        """Write down beside which runs and on what it has trained, if it has."""
        if self.record:
            self.record.write()
            self.record = None

    def problem(self) -> str:
        """Return why the run has failed, as its script says it, and where the log is. Empty if it has not failed."""
        if not self.process or not self.process.returncode:
            return ""
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").split("\n")
        reason = next((line for line in reversed(lines) if line), f"it ended with status {self.process.returncode}")
        log = self.training.run.log
        return reason if str(log) in reason or not log.exists() else f"{reason}; the log is {log}"

    def terminate(self) -> None:
        """Tell the process to end if it still runs."""
        if self.process and self.process.poll() is None:
            self.process.terminate()

    def end(self) -> None:
        """Wait until the process has ended, which was told to. Kill it if that takes too long."""
        if self.process:
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.write_record()


def run_all(
    trainings: Sequence[Training], slots: Sequence[str | None], tell: Callable[[str], None], interval: float = INTERVAL
) -> dict[Training, str]:
    """Run all trainings and their evaluations. Return why those failed that did; the others go on.

    Args:
        slots: as many runs are at work at once, and where; see `slots_of`.
        tell: is called with each line of progress.
        interval: seconds between two lines, beside those of runs that end.
    """
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // len(slots))))
    done = [training for training in trainings if training.is_finished() and is_scored(training.run)]
    waiting, works, free = [each for each in trainings if each not in done], list[Work](), list(slots)
    failed: dict[Training, str] = {}
    clock = Clock(trainings, done)
    if waiting:
        tell(clock.state(done, failed))
    told = last = time.monotonic()
    if_interrupted(AGAIN)
    try:
        while waiting or works:
            now = time.monotonic()
            for record, slot in [(work.record, work.slot) for work in works if work.record]:
                record.add(now - last, len(works), [work.slot for work in works].count(slot))
            last = now
            for training in [each for each in waiting if starts_from(each, failed)]:
                waiting.remove(training)
                failed[training] = f"it starts from {training.start}, which failed"
            ready = [each for each in waiting if not each.start or starts_from(each, done)]
            for training in ready[: len(free)]:
                waiting.remove(training)
                works.append(Work(training, free.pop(0), threads))
            for work in [work for work in works if work.has_ended()]:
                works.remove(work)
                free.append(work.slot)
                if problem := work.problem():
                    failed[work.training] = problem
                else:
                    done.append(work.training)
                outcome = f"failed: {problem}" if problem else "is done"
                tell(f"{work.training} {outcome}. {clock.state(done, failed)}")
                work.errors.close()
            if time.monotonic() > told + interval:
                told = time.monotonic()
                tell(f"{clock.state(done, failed)} At work: {', '.join(map(str, works))}")
            time.sleep(0.1)
    finally:
        for work in works:
            work.terminate()
        for work in works:
            work.end()
    return failed


def refuse_failed(trainings: Sequence[Training], failed: dict[Training, str]) -> None:
    """Exit if runs have failed, after a line on stderr for each of them."""
    for training, problem in failed.items():
        warn(f"{training}: {problem}")
    if failed:
        sys.exit(f"{len(failed)} of {len(trainings)} runs failed; the same command tries them again")


def starts_from(training: Training, others: Iterable[Training]) -> bool:
    """Return whether a run starts from the model of one of the others."""
    return training.start is not None and training.start.path in [other.run.path for other in others]
