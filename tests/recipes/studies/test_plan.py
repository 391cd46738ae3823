"""The runs of a study, and what is refused before the first one trains."""

import os
import shutil
from pathlib import Path

import pytest
from recipes.files import sha256
from recipes.studies import plan as plans
from recipes.training import new_run
from recipes.training.checkpoints import note_finished
from support import toy_run
from support.made_up_study import made_up

STUDY = """
entries:
  baseline: {config: baseline}
  rdrop: {}
  tuned: {from: baseline}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the config with R-Drop."""
    toy_run.write_configs(tmp_path)
    return tmp_path / "rdrop.yaml"


def planned(config: Path, *overrides: str, text: str = STUDY, seeds=None) -> list[plans.Training]:
    """Return the runs of a study with two seeds each."""
    study = made_up(config.parent, text)
    seeds = {name: [7, 2] for name in study.entries} | (seeds or {})
    return plans.plan(study, config, seeds, overrides, config.parent / "runs")


def refused(config: Path, *overrides: str, **more) -> str:
    """Return the line with which a study is refused. Nothing is made."""
    before = sorted(config.parent.rglob("*"))
    with pytest.raises(SystemExit) as caught:
        planned(config, *overrides, **more)
    assert set(before) >= set(config.parent.rglob("*")) - {config.parent / "toy.yaml"}
    assert "\n" not in caught.value.code
    return caught.value.code


def save(training: plans.Training, checkpoint, updates: int = 25, finished: bool = False) -> None:
    """Write what a training leaves, as far as it is read."""
    training.run.path.mkdir(parents=True)
    new_run.make_folder(training.recipe, training.run)
    checkpoint(training.run.last, updates)
    if finished:
        note_finished(training.recipe, training.run)


def test_the_runs_of_the_first_seed_come_first_and_are_those_of_train_sh(config):
    runs = planned(config, "optimization.max_update=9", "criterion.rdrop_alpha=3")
    assert [str(run) for run in runs] == [
        f"{name} seed {seed}" for seed in (7, 2) for name in ("baseline", "rdrop", "tuned")
    ]
    folder = config.parent / "runs"
    baseline, rdrop, tuned = runs[:3]
    words = ["--seed", "7", "--out"]
    assert baseline.arguments() == [
        *(f"{config.parent}/baseline.yaml", *words, f"{folder}/baseline/seed7", "optimization.max_update=9")
    ]
    overrides = ["optimization.max_update=9", "criterion.rdrop_alpha=3"]
    assert rdrop.arguments() == [str(config), *words, f"{folder}/rdrop/seed7", *overrides]
    start = ["--from", f"{folder}/baseline/seed7"]
    assert tuned.arguments() == [str(config), *words, f"{folder}/tuned/seed7", *start, *overrides]
    assert (rdrop.recipe.common.seed, rdrop.recipe.criterion.rdrop_alpha) == (7, 3)


def test_wrong_settings_are_refused_with_the_entry(config):
    assert refused(config, "criterion.rdrop_passes=1") == (
        "rdrop (criterion.rdrop_passes=1): --rdrop-passes 1: must be an integer >= 2"
    )
    assert refused(config, "criterion.rdrop_alpa=1") == (
        "rdrop (criterion.rdrop_alpa=1): Key 'rdrop_alpa' not in 'RDropLabelSmoothedCrossEntropyCriterionConfig'"
    )
    assert "Key 'max_updat' not in 'OptimizationConfig'" in refused(config, "optimization.max_updat=1")
    assert refused(config, "criterion._name=nll") == "baseline: fairseq knows no 'nll'"
    assert refused(config, "task._name=masked_lm") == "baseline: no script scores runs of the task masked_lm"
    assert refused(config, "common.seed=3").startswith("common.seed=3: leave it out")
    one = "entries: {baseline: {config: baseline}, wrong: {set: {criterion.rdrop_dropouts: 0.3}}}"
    assert refused(config, text=one).startswith(
        "wrong (criterion.rdrop_dropouts=0.3): --rdrop-dropouts 0.3: must be 2 rates"
    )


def test_what_is_missing_is_refused(config):
    assert "task.data /nowhere: no such folder" in refused(config, "task.data=/nowhere")
    missing = "entries: {baseline: {config: plain}}"
    assert refused(config, text=missing) == (
        f"the entry baseline needs {config.parent}/plain.yaml, and there is no such file"
    )
    assert refused(config, seeds={"baseline": [2]}) == (
        "tuned with seed 7 starts from baseline with seed 7: give it that seed"
    )


def test_a_finished_run_of_another_config_or_with_other_limits_is_refused(config, checkpoint):
    run = planned(config)[1]
    save(run, checkpoint, finished=True)
    assert planned(config)[1].is_finished()
    assert refused(config, "optimization.lr=[0.02]") == (
        f"{run.run} holds a run of another config: optimization.lr ([0.01] there, [0.02] now); use another --runs"
    )
    assert refused(config, "optimization.max_update=20") == (
        f"{run.run} has ended with optimization.max_update=25 and not with optimization.max_update=20: "
        "use another --runs"
    )
    assert not planned(config, "optimization.max_update=30")[1].is_finished()  # it goes on


def test_a_run_that_started_from_something_else_is_refused(config, checkpoint):
    baseline, _, run = planned(config)[:3]
    save(run, checkpoint, updates=5)
    run.run.started_from.write_text(f"{'0' * 64}  {config.parent}/other/checkpoints/checkpoint_best.pt\n")
    assert refused(config).endswith("runs/baseline/seed7; use another --runs")
    start = os.path.realpath(run.start.path)
    save(baseline, checkpoint, updates=5)
    best = run.start.best
    shutil.copyfile(run.start.checkpoints / "checkpoint_last.pt", best)
    run.run.started_from.write_text(f"{'0' * 64}  {start}/checkpoints/checkpoint_best.pt\n")
    assert "was started from an earlier checkpoint of" in refused(config)
    run.run.started_from.write_text(f"{sha256(best)}  {start}/checkpoints/checkpoint_best.pt\n")
    assert len(planned(config)) == 6
