"""Make the run folder of a training, or check that the folder holds the same run and can go on."""

import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipes.cli import ROOT
from recipes.files import lock, whole_folder, write_whole
from recipes.layout import copy_of_preparation
from recipes.training.checkpoints import is_finished, mend_last_checkpoint
from recipes.training.run_folder import RunFolder, checksums
from recipes.training.settings import STARTS, differences, is_bound, read, refuse_what_breaks_a_run, setting
from recipes.training.start_from import Start

PATIENCE = 10  # seconds that the processes of a killed run have to end
WAIT_FOR_RANK_0 = 300  # seconds that rank 0 has to make the run folder


def name_of(run: RunFolder) -> str:
    """Return the path of a run folder as its config says it: inside the repository, relative to that."""
    path = run.path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def run_config(config: Path, run: RunFolder, seed: int, overrides: list[str], starts: bool = False) -> DictConfig:
    """Return the config of a run: the file, the overrides (KEY=VALUE), and where the run keeps its files.

    Args:
        starts: whether the run starts with the parameters that the run folder holds.
    """
    name = name_of(run)
    for sign in (":", "${"):
        if sign in name:
            sys.exit(f"{name}: fairseq cannot use a run folder with '{sign}' in its path; use another --out")
    fixed: dict[str, Any] = {
        "common": {"seed": seed, "user_dir": "rdrop_fairseq", "tensorboard_logdir": f"{name}/tensorboard"},
        "checkpoint": {"save_dir": f"{name}/checkpoints"},
        # fairseq's working directory stays the same. train.sh keeps the log, and with it what is printed at a crash.
        "hydra": {
            "run": {"dir": "."},
            "output_subdir": None,
            "job_logging": {"handlers": {"file": {"filename": os.devnull}}},
        },
    }
    cfg = read(config, overrides)
    refuse_what_breaks_a_run(cfg, fixed)
    if starts:
        for key in STARTS:
            if setting(cfg, key):
                sys.exit(f"{key}={setting(cfg, key)}: leave it out: --from says what the run starts from")
        fixed["checkpoint"]["finetune_from_model"] = f"{name}/{run.start.name}"
    cfg.merge_with(fixed)
    return cfg


def check_data(cfg: DictConfig, config: Path) -> None:
    """Exit if the data that a config names does not exist."""
    data = str(setting(cfg, "task.data"))
    if ":" in data:
        sys.exit(f"task.data {data}: fairseq takes a colon for the end of a path; use a folder without one")
    if not (ROOT / data).is_dir():
        sys.exit(f"task.data {data}: no such folder; the first lines of {config} say how to make it")


def refuse_other_run(cfg: DictConfig, run: RunFolder) -> None:
    """Exit if the run has saved a checkpoint with another config, or with data that had other dictionaries.

    Settings that may change in a run, such as its limits, are no other config.
    """
    if not run.saved():
        return
    before = read(run.train_yaml) if run.train_yaml.exists() else cfg
    told = [text for key, text in differences(before, cfg).items() if is_bound(key, cfg)]
    if told:
        sys.exit(f"{run} holds a run of another config: {', '.join(told)}; use another --out")
    if run.dictionaries.exists() and run.dictionaries.read_text(encoding="utf-8") != dictionaries(cfg):
        sys.exit(
            f"{setting(cfg, 'task.data')} has other dictionaries than {run.dictionaries} says; "
            "prepare the data as before, or use another --out"
        )


def dictionaries(cfg: DictConfig) -> str:
    """Return the checksums of the dictionaries of the data, as sha256sum writes them."""
    return checksums(ROOT / str(setting(cfg, "task.data")))


def open_folder(cfg: DictConfig, run: RunFolder, first_rank: int, start: Start | None = None) -> list[int] | None:
    """Lock the run folder, and make it or check it. A process without rank 0 waits until rank 0 has done so.

    A new run keeps the parameters from which it starts, if `start` holds some.

    Returns:
        The file descriptors that the processes of the training must keep open: they hold the lock. None if the run is
        finished; then the folder stays as it is.
    """
    refuse_other_run(cfg, run)
    if is_finished(cfg, run):
        return None
    if first_rank != 0:
        wait_for_folder(cfg, run)
        return []
    run.path.mkdir(parents=True, exist_ok=True)
    held = lock(run.path / ".lock", PATIENCE)
    if held is None:
        sys.exit(f"another training is at work in {run}")
    mend_last_checkpoint(run)
    if is_finished(cfg, run):  # once the checkpoint is mended, or by the training that held the lock
        return None
    if not run.saved():
        for left in (run.started_from, run.start):  # by an earlier start that saved no checkpoint
            left.unlink(missing_ok=True)
        if start:
            start.write(run)
    make_folder(cfg, run)
    return [held]


def wait_for_folder(cfg: DictConfig, run: RunFolder) -> None:
    """Wait until rank 0 has made the run folder with the same config. Exit if it does not within WAIT_FOR_RANK_0."""
    deadline = time.monotonic() + WAIT_FOR_RANK_0
    while not run.train_yaml.exists() or differences(read(run.train_yaml), cfg):
        refuse_other_run(cfg, run)
        if time.monotonic() > deadline:
            sys.exit(
                f"there is no {run.train_yaml} of this config, which rank 0 makes; do all machines see the same folder?"
            )
        time.sleep(0.2)


def make_folder(cfg: DictConfig, run: RunFolder) -> None:
    """Make the folder of a run, or check that it holds this run."""
    from recipes.versions import versions  # imports torch, which takes seconds

    refuse_other_run(cfg, run)
    run.path.mkdir(parents=True, exist_ok=True)
    if run.train_yaml.exists() and not run.saved() and differences(read(run.train_yaml), cfg):
        for name in (
            "train.log",
            run.conditions.name,
            "tensorboard",
        ):  # of a start with another config, which saved no checkpoint
            if (run.path / name).exists():
                names = (run.path / f"{name}.{number}" for number in itertools.count(1))
                (run.path / name).rename(next(path for path in names if not path.exists()))
    write_whole(run.train_yaml, OmegaConf.to_yaml(cfg))
    write_whole(run.dictionaries, dictionaries(cfg))
    keep_preparation(ROOT / str(setting(cfg, "task.data")), run)
    write_whole(run.versions, versions())
    run.finished.unlink(missing_ok=True)


def keep_preparation(data: Path, run: RunFolder) -> None:
    """Copy what translating needs of the data to the folder of a translation run, so that it works without the data.

    A run that has saved a checkpoint keeps the copy that it has.
    """
    if run.kind != "translation" or (run.saved() and run.prepared.is_dir()):
        return
    with whole_folder(run.prepared) as part:
        copy_of_preparation(data, part)
