"""The processes of one training: how many there are, where they meet, and how they share the batch of the recipe."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from subprocess import DEVNULL, CalledProcessError, check_output
from typing import Any

from omegaconf import DictConfig

from recipes.training.settings import setting

SIZES = ("dataset.max_tokens", "dataset.batch_size")  # of a batch on one GPU
MOST = 10**12  # tokens or sentences in an update
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what it sets for each process


@dataclass(frozen=True)
class Batch:
    """What a recipe puts into one update, and the size of a batch on one GPU that is asked for."""

    gpus: int  # of the recipe
    update_freq: list[int]  # of the recipe, by epoch
    key: str | None  # which of SIZES the recipe sets
    size: int  # the recipe's
    asked: int  # the same, if nothing else is asked for

    @property
    def units(self) -> int:
        """How many tokens or sentences have to be shared out; with a list of update_freq what all have in common."""
        return self.gpus * math.gcd(*self.update_freq) * self.size

    def check(self) -> None:
        """Exit where batches of the asked size cannot make the update."""
        if self.units % self.asked:
            allowed = [size for size in divisors(self.units) if size <= self.size][-8:]
            sys.exit(
                f"{self.key}={self.asked} does not divide the recipe's batch of {self}; use {one_of(allowed)}, or give "
                "optimization.update_freq too to train with another batch"
            )

    def processes(self) -> list[int]:
        """Return how many processes can share the update."""
        return divisors(self.units // self.asked)

    def update_freq_on(self, processes: int) -> list[int]:
        """Return the update_freq with which so many processes make the recipe's updates."""
        return [self.gpus * freq * self.size // (self.asked * processes) for freq in self.update_freq]

    def smaller(self, processes: int) -> int | None:
        """Return the greatest size up to half of the asked one with which so many processes make the updates."""
        return max((size for size in divisors(self.units // processes) if size <= self.asked // 2), default=None)

    def __str__(self) -> str:
        return self.words(self.gpus, self.update_freq, self.size)

    def on(self, processes: int) -> str:
        """Say how so many processes make the update."""
        return self.words(processes, self.update_freq_on(processes), self.asked)

    def words(self, processes: int, update_freq: list[int], size: int) -> str:
        times = [f"{processes} process{'es' if processes > 1 else ''}", f"update_freq {update_freq[0]}"]
        return " x ".join(times + ([f"{self.key.split('.')[1]} {size}"] if self.key else []))


def find_batch(recipe: DictConfig, asked: Any = None) -> Batch:
    """Return the batch of a recipe, for a size on one GPU if one is asked for; exits if a number of it is bad."""
    key = size_key(recipe)
    size: Any = setting(recipe, key) if key else 1
    asked = size if asked is None else asked
    gpus: Any = setting(recipe, "distributed_training.distributed_world_size", 1)
    freq: Any = setting(recipe, "optimization.update_freq", [1])
    freq = freq if isinstance(freq, list) else [freq]
    if not freq:
        sys.exit("optimization.update_freq=[]: must be a list of positive integers, one for each epoch")
    values = [(key, size), (key, asked), ("distributed_training.distributed_world_size", gpus)]
    for name, value in values + [("optimization.update_freq", value) for value in freq]:
        if type(value) is not int or value < 1:
            sys.exit(f"{name}={value}: must be a positive integer")
    batch = Batch(gpus, freq, key, size, asked)
    if gpus * max(freq) * max(size, asked) > MOST:
        sys.exit(f"an update of {batch.words(gpus, [max(freq)], max(size, asked))} holds more than {MOST}; use less")
    return batch


def size_key(recipe: DictConfig) -> str | None:
    """Return which of SIZES a recipe sets."""
    return next((key for key in SIZES if setting(recipe, key) is not None), None)


def divisors(number: int) -> list[int]:
    """Return them in ascending order."""
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return sorted({*small, *(number // divisor for divisor in small)})


def one_of(numbers: list[int]) -> str:
    """Return a list to choose from."""
    *others, last = map(str, numbers)
    return f"{', '.join(others)} or {last}" if others else last


@dataclass(frozen=True)
class Options:
    """What the command line says of the processes; None where it says nothing."""

    gpus: int | None = None
    cpu_processes: int | None = None
    nodes: int | None = None
    node_rank: int | None = None
    master: str | None = None

    def check(self, gpus_here: int, cpu: bool) -> None:
        """Exit where they contradict one another or the machine."""
        if self.gpus is not None and self.gpus > gpus_here:
            sys.exit(f"--gpus {self.gpus}: this machine has {gpus_here or 'no'} GPU{'s' if gpus_here > 1 else ''}")
        if self.gpus is not None and (cpu or self.cpu_processes is not None):
            sys.exit("--gpus and --cpu-processes or common.cpu=true exclude each other")
        if self.nodes is None or self.nodes == 1:
            if self.node_rank or self.master:
                sys.exit("--node-rank and --master need --nodes, the number of machines")
            return
        if self.node_rank is None or not self.master:
            sys.exit(f"--nodes {self.nodes} needs --node-rank and --master")
        if self.node_rank >= self.nodes:
            sys.exit(f"--node-rank {self.node_rank}: must be 0 to {self.nodes - 1} with --nodes {self.nodes}")
        host, _, port = self.master.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            sys.exit(f"--master {self.master}: must be HOST:PORT, the same on all machines")


@dataclass(frozen=True)
class Job:
    """All processes of a training and which of them are started here: ``local``, with ranks from ``first_rank``."""

    world_size: int
    local: int = 1
    first_rank: int = 0
    local_rank: int = 0  # GPU of the first one
    nodes: int = 1  # machines
    master: str | None = None  # HOST:PORT where they meet; None: on this machine, at a free port
    cpu: bool = False

    def overrides(self) -> list[str]:
        """Return the settings that make fairseq's processes this job."""
        prefix = "distributed_training."
        settings = [f"{prefix}distributed_world_size={self.world_size}"]
        if self.world_size > 1:  # without no_spawn fairseq would start processes of its own, on CPUs none at all
            settings += [f"{prefix}distributed_init_method=env://", f"{prefix}distributed_no_spawn=true"]
            settings += [f"{prefix}distributed_rank=${{oc.env:RANK}}"]
        if self.cpu:
            settings += ["common.cpu=true"]
            if self.world_size > 1:
                settings += [f"{prefix}distributed_backend=gloo", f"{prefix}ddp_backend=legacy_ddp"]
        return settings


def find_job(options: Options, env: Mapping[str, str], gpus_here: int, cpu: bool, batch: Batch) -> Job:
    """Return the job that torchrun, SLURM or the options ask for; exits where it cannot be.

    ``gpus_here``: the GPUs that can be seen; ``cpu``: whether they stay unused.
    """
    batch.check()
    tasks, slurm_nodes = (number_in(env, f"SLURM_STEP_NUM_{name}", 1) for name in ("TASKS", "NODES"))
    launcher = "torchrun" if all(name in env for name in TORCHRUN) else "srun" if tasks > slurm_nodes else None
    if launcher and options != Options():
        sys.exit(f"{launcher} started this as one of its processes: leave out --gpus, --cpu-processes and --nodes")
    if not launcher and tasks > 1:  # one task a machine
        options = replace(options, nodes=tasks, node_rank=number_in(env, "SLURM_NODEID"))
        options = replace(options, master=options.master or slurm_master(env))
    options.check(gpus_here, cpu)
    cpu = cpu or not gpus_here or options.cpu_processes is not None
    if launcher == "torchrun":
        rank, world_size, local_rank = (number_in(env, name) for name in TORCHRUN[:3])
        port = number_in(env, "MASTER_PORT")
        refuse_rank("RANK", rank, world_size)
        nodes = max(1, world_size // max(1, number_in(env, "LOCAL_WORLD_SIZE", world_size)))
        job = Job(world_size, 1, rank, local_rank, nodes, f"{env['MASTER_ADDR']}:{port}")
    elif launcher:
        local_rank = number_in(env, "SLURM_LOCALID") if gpus_here > 1 else 0  # a task may see its own GPU alone
        rank = number_in(env, "SLURM_PROCID")
        refuse_rank("SLURM_PROCID", rank, tasks)
        job = Job(tasks, 1, rank, local_rank, slurm_nodes, slurm_master(env))
    else:
        nodes, possible = options.nodes or 1, batch.processes()
        local = options.gpus or options.cpu_processes or (1 if cpu else gpus_here)
        if options.gpus is None and not cpu and nodes == 1:
            local = max(number for number in possible if number <= gpus_here)
        job = Job(nodes * local, local, (options.node_rank or 0) * local, nodes=nodes, master=options.master)
    if not cpu and job.local_rank + job.local > gpus_here:
        sys.exit(f"rank {job.first_rank} wants GPU {job.local_rank}, but this machine shows only {gpus_here} of them")
    if job.world_size not in batch.processes():
        sys.exit(
            f"{job.world_size} processes do not divide the recipe's batch of {batch}; use {one_of(batch.processes())} "
            f"in all, or another {batch.key or 'optimization.update_freq'}"
        )
    return replace(job, cpu=cpu)


def number_in(env: Mapping[str, str], name: str, default: int | None = None) -> int:
    """Return the integer >= 0 that torchrun or SLURM has set in the environment; exits where it is none."""
    text = env.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdigit()):
        sys.exit(f"{name}={text} in the environment: must be an integer >= 0, as torchrun or srun sets it")
    return int(text)


def refuse_rank(name: str, rank: int, world_size: int) -> None:
    """Exit if the number of a process in the environment is none of the job's."""
    if rank >= world_size:
        sys.exit(f"{name}={rank} in the environment: must be 0 to {world_size - 1} with {world_size} processes")


def slurm_master(env: Mapping[str, str]) -> str:
    """Return HOST:PORT of the first machine of the SLURM step, a port that all its processes can work out."""
    try:
        show = ["scontrol", "show", "hostnames", env["SLURM_STEP_NODELIST"]]
        hosts = check_output(show, stderr=DEVNULL, text=True).split()
        return f"{hosts[0]}:{10000 + int(env['SLURM_JOB_ID']) % 50000}"
    except (OSError, CalledProcessError, LookupError, ValueError) as error:
        sys.exit(f"scontrol does not say which machine of the SLURM job is the first: {error!r}")
