"""Train one run: make its folder, start fairseq's processes, and say in one line why they failed. See scripts/train.sh.

fairseq's own command is printed, for several processes with torchrun. train.sh starts the processes without torchrun,
because those of torchrun outlive it if it is killed, and then write into the run folder beside the next training. The
processes of train.sh end when it ends, and until then they hold a lock on the run folder.
"""

import argparse
import importlib.util
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from omegaconf import DictConfig

from recipes import children, cli
from recipes.cli import ROOT
from recipes.training import ranks
from recipes.training.batch import Batch, find_batch, size_key
from recipes.training.checkpoints import note_finished
from recipes.training.job import TORCHRUN, Job, JobOptions, find_job
from recipes.training.new_run import check_data, name_of, open_folder, run_config
from recipes.training.run_folder import RunFolder
from recipes.training.settings import read, refuse_missing_start, setting
from recipes.training.start_from import check_same, find_start

AGAIN = "the same command goes on from the last checkpoint"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of train.sh: config, overrides, and its options."""
    parser = cli.Parser()
    parser.add_argument("words", nargs="*", metavar="CONFIG key=value")
    parser.add_argument("--seed", type=cli.natural, default=1)
    parser.add_argument("--out", type=cli.a_path)
    parser.add_argument("--from", dest="source", type=cli.a_path)
    parser.add_argument("--gpus", type=cli.positive)
    parser.add_argument("--cpu-processes", type=cli.positive)
    parser.add_argument("--nodes", type=cli.positive)
    parser.add_argument("--node-rank", type=cli.natural)
    parser.add_argument("--master")
    args = parser.parse_intermixed_args(arguments)
    args.config, args.overrides = None, []
    for word in args.words:
        if "=" in word and (args.config or not Path(word).is_file()):
            args.overrides.append(word)
        elif args.config:
            sys.exit(f"two configs: {args.config} and {word}")
        else:
            args.config = Path(word)
    if not args.config:
        sys.exit("no config given (see --help)")
    if not args.config.is_file():
        paths = (path.relative_to(ROOT) for path in ROOT.glob("configs/*/*.yaml"))
        known = sorted(str(path) for path in paths if path.parts[1] != "studies")  # those are for study.sh
        sys.exit(f"there is no config {args.config}; there are: {' '.join(known)}")
    return args


def default_folder(config: Path, seed: int) -> RunFolder:
    """Return the run folder of a config and a seed under runs/ in the repository, as a path from the working directory.

    With "configs/multi30k_deen/rdrop.yaml" and 1 it is runs/multi30k_deen/rdrop/seed1.
    """
    file = config.resolve()
    folder = ROOT / "runs" / file.parent.name / file.name.removesuffix(".yaml") / f"seed{seed}"
    return RunFolder(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)


def read_recipe(
    config: Path, run: RunFolder, seed: int, overrides: list[str], starts: bool = False
) -> tuple[DictConfig, Batch]:
    """Return the config of a run without what only says how its batch is shared, and that batch.

    So another size of the batch on one GPU leaves the recipe as it is, unless update_freq is given too.
    """
    keys = [override.split("=")[0] for override in overrides]
    if "distributed_training.distributed_world_size" in keys:
        sys.exit("distributed_training.distributed_world_size is the recipe's number of GPUs: use --gpus")
    whole = run_config(config, run, seed, overrides, starts)
    if not run.last.exists() and not starts:
        refuse_missing_start(whole)
    size = size_key(read(config))
    if size not in keys or setting(whole, size) is None or "optimization.update_freq" in keys:
        return whole, find_batch(whole)
    others = [override for override, key in zip(overrides, keys, strict=True) if key != size]
    recipe = run_config(config, run, seed, others, starts)
    return recipe, find_batch(recipe, setting(whole, size))


def fairseq_arguments(run: RunFolder, job: Job, batch: Batch) -> list[str]:
    """Return the arguments of fairseq-hydra-train that train a run whose folder is made."""
    arguments = ["--config-dir", name_of(run), "--config-name", "train", *job.overrides()]
    freq = batch.update_freq_on(job.world_size)
    if batch.asked != batch.size:
        arguments.append(f"{batch.key}={batch.asked}")
    if freq != batch.update_freq:
        arguments.append(f"optimization.update_freq=[{','.join(map(str, freq))}]")
    if run.task.startswith("rdrop_"):
        arguments.append("++task.rdrop_end_when_out_of_memory=true")
    return arguments


def command_line(job: Job, arguments: list[str]) -> str:
    """Return fairseq's own command for the processes of this machine, as a user can paste it into a shell."""
    per_node = job.world_size // job.nodes
    command: list[object] = ["fairseq-hydra-train"]
    if job.world_size > 1:
        where: list[object] = ["--standalone"]
        if job.nodes > 1:
            host, port = (job.master or "").rsplit(":", 1)
            where = ["--nnodes", job.nodes, "--node-rank", job.first_rank // per_node]
            where += ["--master-addr", host, "--master-port", port]
        command = ["torchrun", *where, "--nproc-per-node", per_node, "-m", ranks.MODULE]
    return f"cd {shlex.quote(str(ROOT))} && {shlex.join(map(str, [*command, *arguments]))}"


def announce(run: RunFolder, job: Job, batch: Batch, unused: int, arguments: list[str]) -> None:
    """Print what is about to be trained, and how; `unused` is the number of GPUs that the batch leaves without work."""
    print(f"Training {run} (log: {run.log})")
    if importlib.util.find_spec("tensorboard") is None:
        print("tensorboard is not installed: training goes without its log")
    if batch.on(job.world_size) != str(batch):
        print(f"The batch of an update is the recipe's, {batch}: here {batch.on(job.world_size)}")
    if unused:
        print(f"{unused} GPUs stay unused; with a smaller {batch.key} more of them can share the batch")
    print(f"fairseq's command:\n  {command_line(job, arguments)}", flush=True)


def train(
    config: Path, run: RunFolder, seed: int, overrides: list[str], options: JobOptions, source: Path | None = None
) -> None:
    """Train a run to its end, from the parameters of the model `source` if that is given. Exit if it fails."""
    goes_on = bool(run.saved())
    if source and goes_on:
        check_same(run, source)
    starts = source is not None or (goes_on and run.started_from.exists())
    recipe, batch = read_recipe(config, run, seed, overrides, starts)
    check_data(recipe, config)
    import torch  # takes seconds, and what is refused before should be refused at once

    gpus = torch.cuda.device_count()
    job = find_job(options, os.environ, gpus, bool(setting(recipe, "common.cpu")), batch)
    if job.cpu and setting(recipe, "common.fp16"):
        sys.exit("common.fp16 needs a GPU, and none is used: add common.fp16=false common.cpu=true")
    start = find_start(source, recipe, run) if source and not goes_on and job.first_rank == 0 else None
    locks = open_folder(recipe, run, job.first_rank, start)
    next_step = f" Next: {run.next_step}" if run.next_step else ""
    if locks is None:
        if job.first_rank == 0:
            print(
                f"{run} is finished, and stays as it is; with a larger limit, such as optimization.max_update=N, "
                f"it goes on.{next_step}"
            )
        return
    arguments = fairseq_arguments(run, job, batch)
    log = ranks.Log(run.log if job.first_rank == 0 else run.path / f"train.{job.first_rank}.log")
    if job.first_rank == 0:
        chosen_by_batch = job.world_size == job.local and options.gpus is None and not job.cpu
        if start:
            print(f"Starting from {start.path}")
        announce(run, job, batch, gpus - job.local if chosen_by_batch else 0, arguments)
    problem = ranks.train(job, arguments, batch, log, locks)
    if problem:
        without = f"without {run.last} the same command goes on from another checkpoint, or starts from nothing"
        how_to_go_on = f"; {without if log.loading else AGAIN}" if run.last.exists() else ""
        sys.exit(f"training failed: {problem}. The log is {log.path}{how_to_go_on}")
    if job.first_rank == 0:
        note_finished(recipe, run)
        print(f"Done.{next_step}")


def main(arguments: Sequence[str]) -> None:
    """Run the command train.sh."""
    cli.if_interrupted(AGAIN)
    if all(name in os.environ for name in TORCHRUN):  # torchrun, if it is killed, leaves its processes running
        children.end_with(os.getppid())
    args = parse(arguments)
    options = JobOptions(**{field.name: getattr(args, field.name) for field in fields(JobOptions)})
    run = RunFolder(args.out) if args.out else default_folder(args.config, args.seed)
    train(args.config, run, args.seed, args.overrides, options, args.source and args.source.resolve())
