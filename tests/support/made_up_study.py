"""Studies, and runs of studies that were never trained: configs, and run folders with a log and scores."""

from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf
from recipes.studies.plan import Training
from recipes.studies.study import Entry, Study, find_study
from recipes.training.run_folder import RunFolder
from support.made_up_log import make_run


def write_study(file: Path, text: str, baseline: str = "baseline") -> Path:
    """Write a study with these lines after its title and its baseline."""
    file.write_text(f"title: Toy\nbaseline: {baseline}\n{text}")
    return file


def made_up(folder: Path, text: str) -> Study:
    """Return the study of `write_study`."""
    return find_study(str(write_study(folder / "toy.yaml", text)))


def training(folder: Path, **limits: float) -> Training:
    """Return a run that is looked at, with its log still to be written, and with these limits (default: 10 updates)."""
    folder.mkdir(parents=True)
    task = {"_name": "rdrop_translation"}
    recipe = OmegaConf.create({"task": task, "optimization": limits or {"max_update": 10}})
    return Training(Entry(folder.name), 1, RunFolder(folder), Path("rdrop.yaml"), [], None, recipe)


def trained(study: Study, folder: Path, scores: Mapping[str, list[float]], log: str | None = None) -> list[Training]:
    """Return finished runs with these scores on the test set, by entry and in the order of their seeds, from 1."""
    found = []
    for name, values in scores.items():
        entry = study.entries[name]
        for seed, score in enumerate(values, 1):
            run = make_run(folder / name / f"seed{seed}", score)
            if log is not None:
                (run / "train.log").write_text(log)
            start = RunFolder(folder / entry.start / f"seed{seed}") if entry.start else None
            recipe = OmegaConf.create({"optimization": {"max_update": 10}})
            found.append(Training(entry, seed, RunFolder(run), Path("rdrop.yaml"), [], start, recipe))
    return found
