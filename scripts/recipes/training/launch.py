"""Train one run: make its folder, start fairseq's processes, watch them, and say in one line why they failed.

tool.py launch --seed N [OPTION ...] CONFIG RUN [key=value ...], with the options of scripts/train.sh

fairseq's own command line is printed, for several processes with torchrun. Here the processes are started without it:
those of torchrun leave its process group and outlive a torchrun that is killed, and then write into the run folder
beside a second run. These stay, hold a lock on the folder, and end when this ends.
"""

import argparse
import importlib.util
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import IO, NoReturn

import torch
from omegaconf import DictConfig, OmegaConf

from recipes import children
from recipes.files import lock
from recipes.training.checkpoints import is_finished, mend_last_checkpoint
from recipes.training.job import SIZES, TORCHRUN, Batch, Job, Options, find_batch, find_job, size_key
from recipes.training.new_run import (
    check_data,
    make_folder,
    note_finished,
    refuse_other_config,
    refuse_other_dictionaries,
    run_config,
)
from recipes.training.reason import Reason
from recipes.training.settings import differences, read, refuse_missing_start, refuse_what_breaks_a_run, setting

MODULE = "fairseq_cli.hydra_train"
PATIENCE = 10  # seconds for processes that were told to end, or those of a killed run, to be gone
WAIT_FOR_RANK_0 = 300  # seconds until it has made the run folder
NO_MEMORY = re.compile("does not fit into memory|out of memory|can't allocate memory")
AGAIN = "the same command goes on from the last checkpoint"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What fairseq says where a sentence of the validation text is too long, before it trains, and what to do then.
TOO_LONG = {
    "should not exceed max_tokens": "a validation sentence is longer: add dataset.max_tokens_valid=N with a larger N",
    "skip-invalid-size-inputs-valid-test": "a validation sentence is longer than the model allows: add "
    "dataset.skip_invalid_size_inputs_valid_test=true to leave such out",
}


class Rank:
    """One of fairseq's processes; what it prints goes line by line to standard output and the log."""

    def __init__(self, number: int, command: list[str], env: dict[str, str], log: IO[bytes], locks: list[int]) -> None:
        self.number = number
        self.reason = Reason()
        self.unwritable = ""  # why what it prints cannot be written, if so
        self.devices: int | None = None  # how many processes fairseq says that it trains on
        self.skipped_batch = False  # for lack of memory
        self.loading = False  # a checkpoint
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=locks,
        )
        self.reader = threading.Thread(target=self.read, args=(log,), daemon=True)
        self.reader.start()

    def read(self, log: IO[bytes]) -> None:
        for line in self.process.stdout or ():
            try:
                log.write(line)
                sys.stdout.buffer.write(line)
                sys.stdout.flush()
            except OSError as error:
                self.unwritable = f"its output cannot be written: {error}"
                return self.process.kill()
            text = line.decode(errors="replace")
            self.reason.read(text)
            if found := re.search(r"training on (\d+) devices", text):
                self.devices = int(found[1])
            self.skipped_batch |= "attempting to recover from OOM" in text
            self.loading = "Preparing to load checkpoint" in text or (
                self.loading and not re.search("Loaded checkpoint|No existing checkpoint found", text)
            )

    def has_ended(self) -> bool:
        """Whether the process has; then its last lines are read too."""
        if self.process.poll() is None:
            return False
        self.reader.join(1)  # no longer: a child of it may have its output open
        return True

    def fate(self) -> str:
        """Say why the process failed."""
        status = self.process.returncode
        killed = f"killed by {signal.Signals(-status).name}" if status < 0 else ""
        reason = str(self.reason)
        cure = next((f"; {what}" for words, what in TOO_LONG.items() if words in reason), "")
        return self.unwritable or killed or reason + cure or f"exit status {status}"


def start(job: Job, arguments: list[str], log: IO[bytes], locks: list[int]) -> Iterator[Rank]:
    """Start the job's processes of this machine, one by one."""
    env = {"RDROP_END_WHEN_OUT_OF_MEMORY": "1"}  # of rdrop_fairseq/tasks/rdrop_task.py
    if job.world_size > 1:
        host, port = job.master.rsplit(":", 1) if job.master else ("127.0.0.1", str(free_port()))
        env |= {"WORLD_SIZE": str(job.world_size), "MASTER_ADDR": host, "MASTER_PORT": port}
    if job.local > 1:  # threads that outnumber the cores slow each other down
        env["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // job.local)))
    for i in range(job.local):
        if job.world_size > 1:
            env |= {"RANK": str(job.first_rank + i), "LOCAL_RANK": str(job.local_rank + i)}
        yield Rank(job.first_rank + i, children.command(MODULE, *arguments), env, log, locks)


def free_port() -> int:
    """Return a TCP port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def watch(ranks: list[Rank], job: Job, batch: Batch) -> str:
    """Wait until all processes have ended well or one has not; return what is wrong, or an empty string."""
    while True:
        ended = [rank for rank in ranks if rank.has_ended()]
        if any(rank.process.returncode for rank in ended):
            time.sleep(0.5)  # that of the others that has caused it may be a moment later
            failed = [rank for rank in ranks if rank.has_ended() and rank.process.returncode]
            # Others fail soon after the first, for want of it. A process that was killed cannot be one of those.
            first = min(failed, key=lambda rank: rank.process.returncode)
            if NO_MEMORY.search(str(first.reason)):
                return out_of_memory(batch, job)
            return f"rank {first.number} of {job.world_size}: {first.fate()}" if job.world_size > 1 else first.fate()
        if any(rank.skipped_batch for rank in ranks):  # with a stock task, which does not end by itself
            return out_of_memory(batch, job)
        devices = ranks[0].devices
        if devices not in (None, job.world_size):
            return f"fairseq trains on {devices} processes instead of {job.world_size}"
        if len(ended) == len(ranks):
            # The other ranks do not print it.
            return "fairseq ended without training" if job.first_rank == 0 and devices is None else ""
        time.sleep(0.05)


def out_of_memory(batch: Batch, job: Job) -> str:
    """Say what to change."""
    smaller = batch.smaller(job.world_size)
    if batch.key is None or smaller is None:
        return f"out of memory, and {batch} allows no smaller {batch.key or 'batch'}"
    return (
        f"out of memory with {batch.key}={batch.asked}: add {batch.key}={smaller} to the command; update_freq then "
        "rises by itself, so that the batch of an update stays"
    )


def end(ranks: list[Rank]) -> None:
    """End the processes that still run, and read what they have printed to its end."""
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


def command_line(job: Job, arguments: list[str]) -> str:
    """Return fairseq's own command for the processes of this machine, to paste into a shell."""
    per_node = job.world_size // job.nodes
    if job.world_size == 1:
        command = ["fairseq-hydra-train"]
    elif job.nodes == 1:
        command = ["torchrun", "--standalone", "--nproc-per-node", str(per_node), "-m", MODULE]
    else:
        host, port = (job.master or "").rsplit(":", 1)
        command = ["torchrun", "--nnodes", str(job.nodes), "--node-rank", str(job.first_rank // per_node)]
        command += ["--nproc-per-node", str(per_node), "--master-addr", host, "--master-port", port, "-m", MODULE]
    return f"cd {shlex.quote(os.getcwd())} && {shlex.join([*command, *arguments])}"


def open_folder(run: Path, recipe: DictConfig, job: Job) -> list[int] | None:
    """Lock the run folder and make it or check it; where rank 0 is not, wait until it has done so.

    Returns the file descriptors that the processes must keep open; None if the run is finished, and then leaves the
    folder as it is.
    """
    refuse_other_config(recipe, run)
    refuse_other_dictionaries(recipe, run)
    if is_finished(recipe, run):
        return None
    if job.first_rank == 0:
        run.mkdir(parents=True, exist_ok=True)
        held = lock(run / ".lock", PATIENCE)
        if held is None:
            sys.exit(f"another training is at work in {run}")
        mend_last_checkpoint(run)
        if is_finished(recipe, run):  # as it is now, mended or left by the one that had the lock
            return None
        make_folder(recipe, run)
        return [held]
    saved = run / "train.yaml"
    deadline = time.monotonic() + WAIT_FOR_RANK_0
    while not saved.exists() or differences(read(saved), recipe):
        refuse_other_config(recipe, run)
        if time.monotonic() > deadline:
            sys.exit(f"there is no {saved} of this config, which rank 0 makes; do all machines see the same folder?")
        time.sleep(0.2)
    return []


def read_recipe(config: Path, run: Path, seed: int, overrides: list[str]) -> tuple[DictConfig, Batch]:
    """Return the config of a run without what only says how its batch is shared, and that batch.

    So another size of the batch on one GPU leaves the recipe as it is, unless update_freq is given too.
    """
    keys = {override.split("=")[0] for override in overrides}
    if "distributed_training.distributed_world_size" in keys:
        sys.exit("distributed_training.distributed_world_size is the recipe's number of GPUs: use --gpus")
    whole = run_config(config, run, seed, overrides)
    refuse_what_breaks_a_run(whole)
    if not (run / "checkpoints/checkpoint_last.pt").exists():
        refuse_missing_start(whole)
    key = size_key(run_config(config, run, seed, []))
    sizes = [override for override in overrides if override.split("=")[0] == key]
    asked = setting(OmegaConf.from_dotlist(sizes), key) if key and sizes else None
    if asked is None or "optimization.update_freq" in keys:
        sizes, asked = [], None
    recipe = run_config(config, run, seed, [override for override in overrides if override not in sizes])
    if size_key(recipe) is None:
        sys.exit(f"the size of a batch on one GPU is missing: set {' or '.join(SIZES)}")
    return recipe, find_batch(recipe, asked)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--seed", type=int, required=True)
    for field in fields(Options):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=str if field.name == "master" else int)
    return parser.parse_args()


def stop(number: int, _: object) -> NoReturn:
    """Exit because of a signal; others that come meanwhile do not keep the processes from being ended."""
    for other in SIGNALS:  # by a function: Python complains of a signal that came before SIG_IGN was set
        signal.signal(other, lambda *_: None)
    sys.exit(f"stopped by {signal.Signals(number).name}; {AGAIN}")


def how_to_go_on(run: Path, ranks: list[Rank]) -> str:
    """Say what a run that has failed can do."""
    last = run / "checkpoints/checkpoint_last.pt"
    if not last.exists():
        return ""
    if any(rank.loading for rank in ranks):
        return f"; without {last} the same command goes on from another checkpoint, or starts anew"
    return f"; {AGAIN}"


def next_step(run: Path, recipe: DictConfig) -> str:
    """Say what to do with a run that is finished."""
    kind = "lm" if "language_modeling" in str(setting(recipe, "task._name")) else "translation"
    return f"Next: scripts/evaluate_{kind}.sh {run}"


def main() -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, stop)
    if all(name in os.environ for name in TORCHRUN):
        children.end_with(os.getppid())
    args = parse()
    recipe, batch = read_recipe(args.config, args.run, args.seed, args.overrides)
    check_data(recipe, args.config)
    options = Options(**{field.name: getattr(args, field.name) for field in fields(Options)})
    gpus = torch.cuda.device_count()
    job = find_job(options, os.environ, gpus, bool(setting(recipe, "common.cpu")), batch)
    if job.cpu and setting(recipe, "common.fp16"):
        sys.exit("common.fp16 needs a GPU, and none is used: add common.fp16=false common.cpu=true")
    locks = open_folder(args.run, recipe, job)
    if locks is None:
        if job.first_rank == 0:
            print(
                f"{args.run} is finished, and stays as it is; with a larger limit, such as optimization.max_update=N, "
                f"it goes on. {next_step(args.run, recipe)}"
            )
        return

    arguments = ["--config-dir", str(args.run), "--config-name", "train", *job.overrides()]
    freq = batch.update_freq_on(job.world_size)
    if batch.asked != batch.size:
        arguments.append(f"{batch.key}={batch.asked}")
    if freq != batch.update_freq:
        arguments.append(f"optimization.update_freq=[{','.join(map(str, freq))}]")
    log = args.run / ("train.log" if job.first_rank == 0 else f"train.{job.first_rank}.log")
    if job.first_rank == 0:
        print(f"Training {args.run} (log: {log})")
        if importlib.util.find_spec("tensorboard") is None:
            print("tensorboard is not installed: training goes without its log")
        if batch.on(job.world_size) != str(batch):
            print(f"The batch of an update is the recipe's, {batch}: here {batch.on(job.world_size)}")
        if job.world_size == job.local < gpus and options.gpus is None and not job.cpu:
            print(f"{gpus - job.local} GPUs stay unused; with a smaller {batch.key} more of them can share the batch")
        print(f"fairseq's command:\n  {command_line(job, arguments)}", flush=True)

    with log.open("ab", buffering=0) as file:
        ranks: list[Rank] = []
        try:
            ranks.extend(start(job, arguments, file, locks))  # one by one: a signal meanwhile ends those that run
            problem = watch(ranks, job, batch)
        finally:
            end(ranks)
    if problem:
        sys.exit(f"training failed: {problem}. The log is {log}{how_to_go_on(args.run, ranks)}")
    if job.first_rank == 0:
        note_finished(recipe, args.run)
        print(f"Done. {next_step(args.run, recipe)}")
