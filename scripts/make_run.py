"""Make the folder of one training run, or check that it is the same run.

make_run.py --seed N CONFIG RUN [key=value ...]
"""

import argparse
import os
import shutil
import sys
import zipfile
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from versions import versions
from yaml import YAMLError


def run_config(config: Path, run: Path, seed: int, overrides: list[str]) -> DictConfig:
    """Return the config of a run: the file, the overrides, and where the run keeps its files."""
    try:
        cfg = OmegaConf.merge(OmegaConf.load(config), OmegaConf.from_dotlist(overrides))
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        sys.exit(f"{config}: {' '.join(str(error).split())}")
    fixed = {
        "common": {"seed": seed, "user_dir": "rdrop_fairseq", "tensorboard_logdir": f"{run}/tensorboard"},
        "checkpoint": {"save_dir": f"{run}/checkpoints"},
        # fairseq's working directory stays; the log is written by train.sh, which also sees what is printed on a crash.
        "hydra": {
            "run": {"dir": "."},
            "output_subdir": None,
            "job_logging": {"handlers": {"file": {"filename": os.devnull}}},
        },
    }
    return OmegaConf.merge(cfg, fixed)  # type: ignore[return-value]


def flat(cfg: DictConfig | ListConfig) -> dict[str, object]:
    """Return {dotted key: value} of every leaf."""
    leaves: dict[str, object] = {}

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), item)
        else:
            leaves[prefix] = value

    walk("", OmegaConf.to_container(cfg))
    return leaves


def refuse_other_config(cfg: DictConfig, saved: Path) -> None:
    """Exit if the run that wrote `saved` had another config."""
    old, new = flat(OmegaConf.load(saved)), flat(cfg)
    differences = [
        f"{key} ({old.get(key, 'absent')} there, {new.get(key, 'absent')} now)"
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]
    if differences:
        sys.exit(f"{saved.parent} holds a run of another config: {', '.join(differences)}; use another --out")


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: torch's files are zip archives, whose index stands at the end."""
    return zipfile.is_zipfile(checkpoint)


def mend_last_checkpoint(checkpoints: Path) -> None:
    """Where a killed run left `checkpoint_last.pt` cut short, put the newest whole checkpoint in its place."""
    last = checkpoints / "checkpoint_last.pt"
    if not last.exists() or is_whole(last):
        return
    saved = sorted(checkpoints.glob("checkpoint_*_*.pt"), key=lambda path: path.stat().st_mtime, reverse=True)
    whole = next((path for path in saved if path.stem[-1].isdigit() and is_whole(path)), None)
    if whole is None:
        sys.exit(f"{last} is cut short and no other checkpoint is whole; delete {checkpoints} to start anew")
    print(f"{last} is cut short (its run was killed while it was written): going on from {whole.name}")
    copy = last.with_suffix(".part")
    shutil.copyfile(whole, copy)
    copy.rename(last)


def write(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.rename(path)


def check_data(cfg: DictConfig, config: Path) -> None:
    """Exit if the data of a config is not there."""
    data = OmegaConf.select(cfg, "task.data")
    if data is None or not Path(data).is_dir():
        sys.exit(f"task.data {data}: no such folder; the first lines of {config} say how to make it")


def make_folder(cfg: DictConfig, run: Path) -> None:
    """Make the folder of a run, or check that it is this run's and can go on."""
    saved = run / "train.yaml"
    if saved.exists():
        refuse_other_config(cfg, saved)
        mend_last_checkpoint(run / "checkpoints")
    else:
        run.mkdir(parents=True, exist_ok=True)
        write(saved, OmegaConf.to_yaml(cfg))
    write(run / "versions.txt", versions())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args()
    for override in args.overrides:
        if "=" not in override:
            sys.exit(f"{override}: must be key=value, as in optimization.max_update=1000")
    cfg = run_config(args.config, args.run, args.seed, args.overrides)
    check_data(cfg, args.config)
    make_folder(cfg, args.run)


if __name__ == "__main__":
    main()
