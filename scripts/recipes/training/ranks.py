"""Start fairseq's processes of a training on this machine, watch them, and find out why they failed.

The processes write their standard output into the log file themselves, so that nothing of it is lost if train.sh is
killed, and train.sh reads it there. Their standard error comes through train.sh, so train.sh knows which process wrote
a line.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from recipes import children
from recipes.cli import ROOT, cores
from recipes.training.batch import Batch
from recipes.training.job import Job
from recipes.training.reason import Reason

MODULE = "fairseq_cli.hydra_train"
PATIENCE = 10  # seconds that processes which are told to end have until they are killed
INTERVAL = 0.05  # seconds between two looks at the processes
PAUSE = 10  # seconds: if train.sh gets no time for longer, it stood still, and its processes with it
PAUSED = re.compile(r"train\.sh: paused for ([\d.]+) seconds$")  # a line of the log
NO_MEMORY = re.compile("does not fit into memory|out of memory|can't allocate memory")
LOGGING_FAILED = "--- Logging error ---"  # Python prints it where a line cannot be logged, and the program goes on
# What fairseq says, before it trains, if a sentence of the validation text is too long, and what to do then.
TOO_LONG = {
    "should not exceed max_tokens": "a validation sentence is longer: add dataset.max_tokens_valid=N with a larger N",
    "skip-invalid-size-inputs-valid-test": "a validation sentence is longer than the model allows: add "
    "dataset.skip_invalid_size_inputs_valid_test=true to leave such out",
}


class Log:
    """The log file. What the processes add to it is printed, and what this program must know of it is noted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("a+b", buffering=0)
        self.read_to = os.fstat(self.file.fileno()).st_size
        self.rest = b""  # the beginning of a line whose end is not written yet
        self.devices: int | None = None  # on how many processes fairseq says that it trains
        self.skipped_batch = False  # because it did not fit into memory
        self.loading = False  # a checkpoint

    def follow(self) -> None:
        """Print and note what has been written since the last call. Raise OSError if it cannot be printed."""
        size = os.fstat(self.file.fileno()).st_size
        new = os.pread(self.file.fileno(), max(0, size - self.read_to), self.read_to)
        self.read_to += len(new)
        *lines, self.rest = (self.rest + new).split(b"\n")
        for line in lines:
            self.note(line.decode(errors="replace"))
            sys.stdout.buffer.write(line + b"\n")
        sys.stdout.flush()

    def note(self, line: str) -> None:
        """Note what a line says."""
        if found := re.search(r"training on (\d+) devices", line):
            self.devices = int(found[1])
        self.skipped_batch |= "attempting to recover from OOM" in line
        if "Preparing to load checkpoint" in line:
            self.loading = True
        elif re.search("Loaded checkpoint|No existing checkpoint found", line):
            self.loading = False

    def pause(self, seconds: float) -> None:
        """Write down that the training stood still, as after ^Z: fairseq's clock goes on then."""
        with suppress(OSError):
            self.file.write(f"train.sh: paused for {seconds:.1f} seconds\n".encode())

    def close(self) -> None:
        """Print the rest, and close the file."""
        with suppress(OSError):
            self.follow()
            sys.stdout.buffer.write(self.rest)
            sys.stdout.flush()
        self.file.close()


class Rank:
    """One of fairseq's processes."""

    def __init__(self, number: int, command: list[str], env: dict[str, str], log: Log, locks: list[int]) -> None:
        self.number = number
        self.reason = Reason()
        self.unwritable = ""  # why its output cannot be written, if so
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=log.file,
            stderr=subprocess.PIPE,
            pass_fds=locks,
        )
        self.reader = threading.Thread(target=self.read, args=(log,), daemon=True)
        self.reader.start()

    def read(self, log: Log) -> None:
        """Write its standard error into the log, line by line, and look there for the reason of a failure."""
        logging_failed = False
        for line in self.process.stderr or ():
            text = line.decode(errors="replace")
            self.reason.read(text)
            try:
                log.file.write(line)
                logging_failed |= LOGGING_FAILED in text
                if logging_failed and text.startswith("OSError: "):
                    raise OSError(text.removeprefix("OSError: ").strip())
            except ValueError:  # the log is closed: only a child of the process, which has ended, goes on to print
                return None
            except OSError as error:
                self.unwritable = f"its output cannot be written: {error}"
                return self.process.kill()

    def has_ended(self) -> bool:
        """Return whether the process has ended. If so, its last lines have been read."""
        if self.process.poll() is None:
            return False
        self.reader.join(1)  # not longer, because a child of it may hold its output open
        return True

    def fate(self) -> str:
        """Say why the process failed."""
        status = self.process.returncode
        killed = f"killed by {signal.Signals(-status).name}" if status < 0 else ""
        reason = str(self.reason)
        cure = next((f"; {what}" for words, what in TOO_LONG.items() if words in reason), "")
        return self.unwritable or killed or reason + cure or f"exit status {status}"


def start(job: Job, arguments: list[str], log: Log, locks: list[int]) -> Iterator[Rank]:
    """Start the job's processes of this machine one by one, so that a signal can end those that are started.

    They keep the file descriptors of the locks open.
    """
    env = {"PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "ignore")}  # fairseq's own, of deprecated calls
    if job.world_size > 1:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            free = f"127.0.0.1:{listener.getsockname()[1]}"
        host, port = (job.master or free).rsplit(":", 1)
        env |= {"WORLD_SIZE": str(job.world_size), "MASTER_ADDR": host, "MASTER_PORT": port}
    if job.local > 1:  # threads that outnumber the cores slow each other down
        env["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // job.local)))
    for i in range(job.local):
        if job.world_size > 1:
            env |= {"RANK": str(job.first_rank + i), "LOCAL_RANK": str(job.local_rank + i)}
        yield Rank(job.first_rank + i, children.command(MODULE, *arguments), env, log, locks)


def watch(ranks: list[Rank], job: Job, batch: Batch, log: Log) -> str:
    """Wait until all processes have ended well or one has failed. Return what is wrong, or an empty string."""
    while True:
        ended = [rank for rank in ranks if rank.has_ended()]
        try:
            log.follow()
        except OSError as error:
            return f"its output cannot be printed: {error}"
        if any(rank.process.returncode for rank in ended):
            return failure(ranks, job, batch)
        if log.skipped_batch:  # with a task of fairseq's own, which goes on without the batch
            return out_of_memory(batch, job)
        if log.devices not in (None, job.world_size):
            return f"fairseq trains on {log.devices} processes instead of {job.world_size}"
        if len(ended) == len(ranks):
            # Only rank 0 prints the number of devices.
            return "fairseq ended without training" if job.first_rank == 0 and log.devices is None else ""
        begin = time.monotonic()
        time.sleep(INTERVAL)
        if (slept := time.monotonic() - begin) > PAUSE:
            log.pause(slept)


def failure(ranks: list[Rank], job: Job, batch: Batch) -> str:
    """Say why the processes failed, of which at least one has ended."""
    time.sleep(0.5)  # the one that is the cause may end a moment after the others
    failed = [rank for rank in ranks if rank.has_ended() and rank.process.returncode]
    # Processes whose partner is gone fail too. One that was killed (with a status below 0) cannot be such a one.
    first = min(failed, key=lambda rank: rank.process.returncode)
    if NO_MEMORY.search(str(first.reason)):
        return out_of_memory(batch, job)
    return f"rank {first.number} of {job.world_size}: {first.fate()}" if job.world_size > 1 else first.fate()


def out_of_memory(batch: Batch, job: Job) -> str:
    """Say which smaller size of a batch to use."""
    smaller = batch.smaller(job.world_size)
    if smaller is None:
        return f"out of memory, and {batch} allows no smaller {batch.key}"
    return (
        f"out of memory with {batch.key}={batch.asked}: add {batch.key}={smaller} to the command; update_freq then "
        "rises by itself, so that the batch of an update stays"
    )


def end(ranks: list[Rank]) -> None:
    """End the processes that still run, and read what they have printed."""
    for rank in ranks:
        if rank.process.poll() is None:
            rank.process.terminate()
    for rank in ranks:
        try:
            rank.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            rank.process.kill()
            rank.process.wait()
        rank.reader.join(1)


def train(job: Job, arguments: list[str], batch: Batch, log: Log, locks: list[int]) -> str:
    """Run the processes to their end. Return what is wrong, or an empty string. None of them is left in either case."""
    ranks: list[Rank] = []
    try:
        ranks.extend(start(job, arguments, log, locks))
        return watch(ranks, job, batch, log)
    finally:
        end(ranks)
        log.close()
