"""The processes of one training: how many there are, which of them are started here, and where they meet."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from subprocess import DEVNULL, CalledProcessError, check_output

from recipes.training.batch import Batch, one_of

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what it sets for each process


@dataclass(frozen=True)
class JobOptions:
    """What the command line says of the processes. None means that it says nothing."""

    gpus: int | None = None
    cpu_processes: int | None = None
    nodes: int | None = None
    node_rank: int | None = None
    master: str | None = None

    def check(self, gpus_here: int, cpu: bool) -> None:
        """Exit if the options contradict one another or a config for the CPU, or the GPUs are not here."""
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
    """All processes of a training, and those that are started here: `local` of them, with ranks from `first_rank`."""

    world_size: int
    local: int = 1
    first_rank: int = 0
    local_rank: int = 0  # the GPU of the first one
    nodes: int = 1  # machines
    master: str | None = None  # HOST:PORT where they meet; None for a free port of this machine
    cpu: bool = False

    def overrides(self) -> list[str]:
        """Return the settings, as fairseq's command line takes them, that make its processes this job."""
        settings = [f"distributed_world_size={self.world_size}"]
        if self.world_size > 1:  # without no_spawn fairseq would start processes of its own, on CPUs none at all
            settings += [
                "distributed_init_method=env://",
                "distributed_no_spawn=true",
                "distributed_rank=${oc.env:RANK}",
            ]
        if self.world_size > 1 and self.cpu:
            settings += ["distributed_backend=gloo", "ddp_backend=legacy_ddp"]
        return [f"distributed_training.{text}" for text in settings] + (["common.cpu=true"] if self.cpu else [])


def find_job(options: JobOptions, env: Mapping[str, str], gpus_here: int, cpu: bool, batch: Batch) -> Job:
    """Return the job that torchrun, SLURM (both in the environment) or the options ask for. Exit if it cannot be.

    Args:
        gpus_here: how many GPUs this machine shows.
        cpu: whether the config trains on the CPU.
    """
    batch.check()
    tasks, slurm_nodes = (number_in(env, f"SLURM_STEP_NUM_{name}", 1) for name in ("TASKS", "NODES"))
    launcher = "torchrun" if all(name in env for name in TORCHRUN) else "srun" if tasks > slurm_nodes else None
    if launcher and options != JobOptions():
        sys.exit(f"{launcher} started this as one of its processes: leave out --gpus, --cpu-processes and --nodes")
    if not launcher and tasks > 1:  # one task a machine
        options = replace(options, nodes=tasks, node_rank=number_in(env, "SLURM_NODEID"))
        options = replace(options, master=options.master or slurm_master(env))
    options.check(gpus_here, cpu)
    cpu = cpu or not gpus_here or options.cpu_processes is not None
    if launcher == "torchrun":
        world_size, local_rank, port = (number_in(env, name) for name in ("WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"))
        rank = number_in(env, "RANK", processes=world_size)
        nodes = max(1, world_size // max(1, number_in(env, "LOCAL_WORLD_SIZE", world_size)))
        job = Job(world_size, 1, rank, local_rank, nodes, f"{env['MASTER_ADDR']}:{port}")
    elif launcher:
        local_rank = number_in(env, "SLURM_LOCALID") if gpus_here > 1 else 0  # a task may see its own GPU alone
        rank = number_in(env, "SLURM_PROCID", processes=tasks)
        job = Job(tasks, 1, rank, local_rank, slurm_nodes, slurm_master(env))
    else:
        nodes = options.nodes or 1
        local = options.gpus or options.cpu_processes or (1 if cpu else gpus_here)
        if options.gpus is None and not cpu and nodes == 1:
            local = max(number for number in batch.processes() if number <= gpus_here)
        job = Job(nodes * local, local, (options.node_rank or 0) * local, nodes=nodes, master=options.master)
    if not cpu and job.local_rank + job.local > gpus_here:
        sys.exit(f"rank {job.first_rank} wants GPU {job.local_rank}, but this machine shows only {gpus_here} of them")
    if job.world_size not in batch.processes():
        sys.exit(
            f"{job.world_size} processes do not divide the recipe's batch of {batch}; use {one_of(batch.processes())} "
            f"in all, or another {batch.key}"
        )
    return replace(job, cpu=cpu)


def number_in(env: Mapping[str, str], name: str, default: object = "", processes: float = math.inf) -> int:
    """Return the integer, from 0 to below `processes`, that torchrun or SLURM has set in the environment."""
    text = env.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        sys.exit(f"{name}={text} in the environment: must be an integer >= 0, as torchrun or srun sets it")
    if int(text) >= processes:
        sys.exit(f"{name}={text} in the environment: must be 0 to {processes - 1} with {processes} processes")
    return int(text)


def slurm_master(env: Mapping[str, str]) -> str:
    """Return HOST:PORT of the first machine of the SLURM step. The job's number says the port, so all find the same."""
    try:
        show = ["scontrol", "show", "hostnames", env["SLURM_STEP_NODELIST"]]
        hosts = check_output(show, stderr=DEVNULL, text=True).split()
        return f"{hosts[0]}:{10000 + int(env['SLURM_JOB_ID']) % 50000}"
    except (OSError, CalledProcessError, LookupError, ValueError) as error:
        sys.exit(f"scontrol does not say which machine of the SLURM job is the first: {error!r}")
