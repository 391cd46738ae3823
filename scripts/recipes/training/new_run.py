"""Make the folder of one training run, or check that it is the same run."""

import hashlib
import os
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from recipes.files import write_whole
from recipes.training.checkpoints import FINISHED, checkpoints_of, limits_of
from recipes.training.settings import bound, differences, flat, read, refuse_other_than, setting, with_overrides
from recipes.versions import versions

# What sets the settings that each run gets.
INSTEAD = {"common.seed": "--seed sets it", "common.user_dir": "it is the plugin's, rdrop_fairseq"}
INSTEAD |= dict.fromkeys(("checkpoint.save_dir", "common.tensorboard_logdir"), "--out sets it, as a folder of the run")
LARGEST_SEED = 2**31 - 1


def run_config(config: Path, run: Path, seed: int, overrides: list[str]) -> DictConfig:
    """Return the config of a run: the file, the overrides, and where the run keeps its files."""
    if seed > LARGEST_SEED:
        sys.exit(f"--seed {seed}: the largest seed allowed is {LARGEST_SEED}")
    for sign in (":", "${"):
        if sign in str(run):
            sys.exit(f"{run}: fairseq cannot use a run folder with '{sign}' in its path; use another --out")
    fixed: dict[str, object] = {
        "common": {"seed": seed, "user_dir": "rdrop_fairseq", "tensorboard_logdir": f"{run}/tensorboard"},
        "checkpoint": {"save_dir": f"{run}/checkpoints"},
        # fairseq's working directory stays; the log is written by train.sh, which also sees what is printed on a crash.
        "hydra": {
            "run": {"dir": "."},
            "output_subdir": None,
            "job_logging": {"handlers": {"file": {"filename": os.devnull}}},
        },
    }
    cfg = with_overrides(config, overrides)
    refuse_other_than(cfg, fixed, INSTEAD)
    return OmegaConf.merge(cfg, fixed)  # type: ignore[return-value]


def refuse_other_config(cfg: DictConfig, run: Path) -> None:
    """Exit if the run has trained with another config, apart from what can change in a run."""
    saved = run / "train.yaml"
    if not (saved.exists() and checkpoints_of(run)):
        return
    before = read(saved)
    keys = bound(differences(before, cfg), cfg)
    if keys:
        old, new = flat(before), flat(cfg)
        told = [f"{key} ({old.get(key, 'absent')} there, {new.get(key, 'absent')} now)" for key in keys]
        sys.exit(f"{run} holds a run of another config: {', '.join(told)}; use another --out")


def refuse_other_dictionaries(cfg: DictConfig, run: Path) -> None:
    """Exit if the run has trained with other dictionaries than the data has now."""
    saved = run / "dictionaries.txt"
    if saved.exists() and checkpoints_of(run) and saved.read_text(encoding="utf-8") != dictionaries(cfg):
        data = setting(cfg, "task.data")
        sys.exit(f"{data} has other dictionaries than {saved} says; prepare the data as before, or use another --out")


def dictionaries(cfg: DictConfig) -> str:
    """Return the checksums of the dictionaries of the data, as sha256sum writes them."""
    files = sorted(Path(str(setting(cfg, "task.data"))).glob("dict*.txt"))
    return "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)


def check_data(cfg: DictConfig, config: Path) -> None:
    """Exit if the data of a config is not there."""
    data = str(setting(cfg, "task.data"))
    if ":" in data:
        sys.exit(f"task.data {data}: fairseq takes a colon for the end of a path; use a folder without one")
    if not Path(data).is_dir():
        sys.exit(f"task.data {data}: no such folder; the first lines of {config} say how to make it")


def make_folder(cfg: DictConfig, run: Path) -> None:
    """Make the folder of a run, or check that it is this run's and can go on."""
    refuse_other_config(cfg, run)
    refuse_other_dictionaries(cfg, run)
    saved = run / "train.yaml"
    run.mkdir(parents=True, exist_ok=True)
    if saved.exists() and not checkpoints_of(run) and differences(read(saved), cfg):
        for name in ("train.log", "tensorboard"):  # of a start with another config, which has come to nothing
            if (run / name).exists():
                set_aside(run / name)
    write_whole(saved, OmegaConf.to_yaml(cfg))
    write_whole(run / "dictionaries.txt", dictionaries(cfg))
    write_whole(run / "versions.txt", versions())
    (run / FINISHED).unlink(missing_ok=True)


def set_aside(path: Path) -> None:
    """Rename a file or folder to a name that is free."""
    number = 1
    while (other := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    path.rename(other)


def note_finished(cfg: DictConfig, run: Path) -> None:
    """Write down that the training of a run has ended, and with which limits."""
    write_whole(run / FINISHED, OmegaConf.to_yaml(OmegaConf.create(limits_of(cfg))))
