"""Runs that evaluation is tested on: one that has learned its toy text by heart."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from recipes.evaluation import checkpoint_choice, decoding
from recipes.files import lock
from recipes.versions import versions
from support import command_line
from support.toy_run import CONFIG
from support.waiting import HANG

GENERATION = {"beam": 3, "lenpen": 0.6, "max_len_a": 1.5, "max_len_b": 3}


def train_run(folder: Path, config: dict) -> Path:
    """Train a run with fairseq-hydra-train, write the files that train.sh adds, and return the run folder."""
    folder.mkdir(parents=True)
    fixed = {
        "common": {"user_dir": command_line.USER_DIR, "seed": 3},
        "checkpoint": {"save_dir": str(folder / "checkpoints")},
        "hydra": {"run": {"dir": "."}, "output_subdir": None},
    }
    config = config | {section: config.get(section, {}) | values for section, values in fixed.items()}
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    (folder / "versions.txt").write_text(versions())
    result = command_line.run(command_line.HYDRA_TRAIN, "--config-dir", folder, "--config-name", "train")
    (folder / "train.log").write_text(result.stdout)
    return folder


def train_learned(folder: Path) -> Path:
    """Train a run that learns its toy text by heart, so that its BLEU is above 0; return the run folder.

    The text is prepared in ``folder/data``. Its validation and test sets are lines of the training set; validation and
    the test set made_up are the same lines. The run keeps checkpoints by update, by epoch, and the two best.
    """
    command_line.make_data(folder)
    data = folder / "data"
    for part in ("raw", "tok"):
        (data / part).mkdir(parents=True)
        for name, first, last in (("train", 0, 36), ("valid", 6, 15), ("made_up", 6, 15), ("another", 20, 30)):
            for lang in ("de", "en"):
                lines = (folder / f"train.{lang}").read_text().splitlines(keepends=True)
                (data / part / f"{name}.{lang}").write_text("".join(lines[first:last]))
    tests = f"{data}/tok/made_up,{data}/tok/another"
    prefixes = (f"--trainpref={data}/tok/train", f"--validpref={data}/tok/valid", f"--testpref={tests}")
    command_line.run(
        command_line.PREPROCESS, "-s", "de", "-t", "en", *prefixes, "--joined-dictionary", "--destdir", data / "bin"
    )
    (data / "testsets").write_text("made_up\nanother\n")
    config = yaml.safe_load(CONFIG.format(data=data / "bin", criterion="label_smoothed_cross_entropy"))
    changes = {
        "checkpoint": {
            "keep_best_checkpoints": 2,
            "save_interval_updates": 33,
            "no_epoch_checkpoints": False,
            "save_interval": 12,
        },
        "dataset": {"batch_size": 9, "validate_interval_updates": 33},
        "optimization": {"max_update": 165, "lr": [0.02]},
        "model": {"dropout": 0.0},
        "generation": GENERATION,
    }
    return train_run(folder / "run", config | {key: config.get(key, {}) | value for key, value in changes.items()})


def learned_once(factory: pytest.TempPathFactory) -> Path:
    """Return the folder that holds the run of `train_learned`. All processes of a test session share it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "learned_once"
    held = lock(folder.with_suffix(".lock"), HANG)
    try:
        if not folder.exists():
            made = factory.mktemp("learned")
            train_learned(made)
            text = (made / "run/train.yaml").read_text()
            (made / "run/train.yaml").write_text(text.replace(str(made), str(folder)))
            made.rename(folder)
    finally:
        os.close(held)
    return folder


def copy_of(run_folder: Path, place: Path, name: str = "run") -> Path:
    """Copy a run and its data, which is beside it in the folder data, to another place; return the new run folder."""
    shutil.copytree(run_folder.parent / "data", place / "data")
    copy = shutil.copytree(run_folder, place / name, ignore=shutil.ignore_patterns("evaluation", "sweep"))
    config = (copy / "train.yaml").read_text()
    (copy / "train.yaml").write_text(config.replace(str(run_folder.parent / "data"), str(place / "data")))
    return copy


@contextmanager
def chosen(run_folder: Path) -> Iterator[checkpoint_choice.Checkpoint]:
    """Give the best checkpoint of a run, as an evaluation takes it."""
    args = checkpoint_choice.ModelParser().parse_args([str(run_folder)])
    with checkpoint_choice.chosen_checkpoint(args) as checkpoint:
        yield checkpoint


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tree(folder: Path) -> dict[str, str]:
    """Return the checksums of all files under a folder, by path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fairseq_hypotheses(run_folder: Path, subset: str, *flags: object) -> list[list[decoding.Hypothesis]]:
    """Return what fairseq-generate, called with ``flags``, gives for a run of ``train_learned``."""
    data, generated = run_folder.parent / "data/bin", run_folder.parent / "generated"
    where = ["--path", run_folder / "checkpoints/checkpoint_best.pt", "--results-path", generated]
    how = ["--user-dir", command_line.USER_DIR, "--cpu", "--num-workers", 0, "--gen-subset", subset, "--remove-bpe"]
    how += ["--batch-size", 10, "--required-batch-size-multiple", 1]
    command_line.run(command_line.GENERATE, data, *where, *how, *flags)
    return list(decoding.read_generated(generated / f"generate-{subset}.txt").values())
