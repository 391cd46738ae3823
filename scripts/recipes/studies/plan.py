"""Plan the runs of a study: their folders, their settings, and all that is refused before the first one trains."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from recipes.cli import ROOT
from recipes.files import sha256
from recipes.quiet import quiet
from recipes.studies.study import Entry, Study, scaled
from recipes.training import launch
from recipes.training.batch import size_key
from recipes.training.checkpoints import is_finished, limits_of
from recipes.training.new_run import check_data, refuse_other_run
from recipes.training.run_folder import EVALUATE, RunFolder, evaluated_as
from recipes.training.settings import flat, in_one_line, read, setting
from recipes.training.start_from import check_same, whole_config

UPDATE_FREQ = "optimization.update_freq"


@dataclass(frozen=True, eq=False)
class Training:
    """A run of a study: an entry with a seed."""

    entry: Entry
    seed: int
    run: RunFolder
    config: Path
    overrides: list[str]  # KEY=VALUE, as train.sh takes them
    start: RunFolder | None  # the run from whose model it starts
    recipe: DictConfig  # the whole config of the run

    def __str__(self) -> str:
        return f"{self.entry.name} seed {self.seed}"

    def arguments(self) -> list[str]:
        """Return the arguments of train.sh for this run."""
        start = ["--from", str(self.start)] if self.start else []
        return [str(self.config), "--seed", str(self.seed), "--out", str(self.run), *start, *self.overrides]

    @property
    def run_kind(self) -> str:
        """How the run is evaluated, one of EVALUATE."""
        keys = ("task._name", "task.source_lang", "task.target_lang")
        return evaluated_as(*(setting(self.recipe, key) for key in keys))

    def is_finished(self) -> bool:
        """Return whether the run has been trained to its end."""
        return is_finished(self.recipe, self.run)


def config_of(entry: Entry, given: Path) -> Path:
    """Return the config of an entry. Exit if there is none."""
    config = given.with_name(f"{entry.config}.yaml") if entry.config else given
    if not config.is_file():
        sys.exit(f"the entry {entry.name} needs {config}, and there is no such file")
    return config


def overrides_of(entry: Entry, config: Path, given: Sequence[str]) -> list[str]:
    """Return the overrides (KEY=VALUE) that make a config that of an entry.

    Those of the user come first, and the differences of the entry are to the config that they make. A user's flags of
    R-Drop are only for entries whose criterion has them.
    """
    has_rdrop = str(setting(read(config), "criterion._name", "")).startswith("rdrop_")
    own = [override for override in given if has_rdrop or not override.startswith("criterion.rdrop_")]
    cfg = read(config, own)
    found: dict[str, Any] = {key: scaled(of, key, cfg, entry.name, config) for key, of in entry.scale.items()}
    if entry.batch != 1:
        size = size_key(cfg)
        if size is None:
            sys.exit(f"{entry.name} takes another batch, and {config} sets no dataset.max_tokens or dataset.batch_size")
        # With a smaller size alone, which is that of a smaller GPU, train.sh keeps the batch of the config.
        keeps = not any(override.startswith(f"{UPDATE_FREQ}=") for override in own)
        found[size] = scaled(entry.batch, size, read(config) if keeps else cfg, entry.name, config)
        found[UPDATE_FREQ] = setting(cfg, UPDATE_FREQ, [1])
    found |= entry.set
    kept = [override for override in own if override.partition("=")[0] not in found]
    return kept + [f"{key}={json.dumps(value)}" for key, value in found.items()]


def plan(
    study: Study, given: Path, seeds: Mapping[str, Sequence[int]], overrides: Sequence[str], runs: Path
) -> list[Training]:
    """Return the runs of a study, all entries of the first seed first. Exit if one of them cannot be trained.

    Args:
        given: the config that the study is about.
        seeds: those of each entry, by its name; none if it is left out.
        runs: the folder that holds RUN = ENTRY/seedN.
    """
    trainings: dict[tuple[str, int], Training] = {}
    entries = sorted(study.entries.values(), key=lambda entry: bool(entry.start))  # what others start from comes first
    settings = {entry.name: overrides_of(entry, config_of(entry, given), overrides) for entry in entries}
    for entry in entries:
        config = config_of(entry, given)
        for seed in seeds[entry.name]:
            run = RunFolder(runs / entry.name / f"seed{seed}")
            start = RunFolder(runs / entry.start / f"seed{seed}") if entry.start else None
            if start and seed not in seeds[entry.start]:
                sys.exit(f"{entry.name} with seed {seed} starts from {entry.start} with seed {seed}: give it that seed")
            recipe, _ = launch.read_recipe(config, run, seed, settings[entry.name], start is not None)
            training = Training(entry, seed, run, config, settings[entry.name], start, recipe)
            check_folder(training)
            trainings[entry.name, seed] = training
    for entry in entries:
        for training in [training for training in trainings.values() if training.entry is entry][:1]:
            check_settings(training)
    order = list(study.entries)
    return sorted(trainings.values(), key=lambda of: (seeds[of.entry.name].index(of.seed), order.index(of.entry.name)))


def check_folder(training: Training) -> None:
    """Exit if the data is missing, or if the folder holds a run with another config or other limits."""
    run, recipe = training.run, training.recipe
    check_data(recipe, training.config)
    try:
        refuse_other_run(recipe, run)
        if training.start and run.saved():
            check_same(run, training.start.path.resolve())
            checksum = run.started_from.read_text(encoding="utf-8").partition(" ")[0]
            if training.start.best.exists() and sha256(training.start.best) != checksum:
                sys.exit(f"{run} was started from an earlier checkpoint of {training.start}: use another --out")
    except SystemExit as problem:
        sys.exit(str(problem).replace("use another --out", "use another --runs"))
    if run.finished.exists() and training.is_finished():
        limits, wanted = flat(read(run.finished)), limits_of(recipe)
        if limits != wanted:
            told = (" ".join(f"{key}={value}" for key, value in of.items()) for of in (limits, wanted))
            sys.exit(f"{run} has ended with {' and not with '.join(told)}: use another --runs")


def check_settings(training: Training) -> None:
    """Exit if fairseq does not know a setting of a run, or refuses the flags of its criterion or the dictionaries."""
    if training.run_kind not in EVALUATE:
        sys.exit(f"{training.entry.name}: no script scores runs of the task {training.run_kind}")
    sections = training.recipe.copy()
    sections.pop("hydra")
    sections.task.data = str(ROOT / sections.task.data)
    try:
        with quiet():
            from fairseq import tasks

            import rdrop_fairseq.tasks  # noqa: F401  (with fairseq it registers all)

            whole = whole_config(sections)
            tasks.setup_task(whole.task).build_criterion(whole.criterion)
    except (Exception, SystemExit) as error:  # of fairseq, omegaconf and the plugin, of many kinds
        if type(error) is KeyError:  # of fairseq's registries
            sys.exit(f"{training.entry.name}: fairseq knows no {error}")
        text = re.split(" full_key:|[.] Available", in_one_line(error).removeprefix("error: "))[0]
        sys.exit(f"{training.entry.name} ({' '.join(training.overrides) or training.config}): {text}")
