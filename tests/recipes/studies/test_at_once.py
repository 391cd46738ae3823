"""How many runs are at work and where, how far they are, and what is known of their scores."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from recipes.studies import at_once
from recipes.studies.plan import Training
from recipes.studies.study import Entry
from recipes.training.run_folder import RunFolder


@pytest.fixture
def hardware(monkeypatch):
    """Let a machine show GPUs, and cores."""

    def show(gpus: int, cores: int = 4, visible: str | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(at_once, "cores", lambda: cores)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return show


def test_there_is_a_run_for_each_gpu_or_else_for_each_core(hardware):
    hardware(3)
    assert at_once.slots_of(None, cpu=False) == ["0", "1", "2"]
    assert at_once.slots_of(None, cpu=True) == [None] * 4
    assert at_once.slots_of(5, cpu=False) == ["0", "1", "2", "0", "1"]
    assert at_once.slots_of(1, cpu=False) == ["0"]
    hardware(2, visible="5,7")
    assert at_once.slots_of(None, cpu=False) == ["5", "7"]
    hardware(0)
    assert at_once.slots_of(None, cpu=False) == [None] * 4
    assert at_once.slots_of(2, cpu=False) == [None] * 2


def training(folder, most: int = 10) -> Training:
    """A run that is looked at, with its log still to be written."""
    folder.mkdir(parents=True)
    recipe = OmegaConf.create({"optimization": {"max_update": most}})
    return Training(Entry(folder.name), 1, RunFolder(folder), Path("rdrop.yaml"), [], None, recipe)


def test_how_far_a_run_is_stands_at_the_end_of_its_log(tmp_path):
    run = training(tmp_path / "run")
    assert at_once.trained(run) == at_once.last_update(run.run.log) == 0
    long = '{"num_updates": "1"}\n' + "x" * at_once.TAIL + '\n{"num_updates": "3"}\n{"num_updates": "4"}\n{"num_upd'
    run.run.log.write_text(long)
    assert (at_once.last_update(run.run.log), at_once.trained(run)) == (4, 0.4)
    run.run.log.write_text('{"num_updates": "12"}')
    assert at_once.trained(run) == 1
    endless = training(tmp_path / "endless", 0)
    endless.run.log.write_text('{"num_updates": "12"}')
    assert at_once.trained(endless) == 0
    endless.run.finished.write_text("")
    assert at_once.trained(endless) == 1


def test_the_estimate_is_that_of_the_same_speed(tmp_path, monkeypatch):
    now = SimpleNamespace(monotonic=lambda: 100.0)
    monkeypatch.setattr(at_once, "time", now)
    one, other, third = (training(tmp_path / name) for name in "abc")
    one.run.log.write_text('{"num_updates": "5"}')
    clock = at_once.Clock([one, other, third], [third])
    assert clock.state([third], {}) == "1 of 3 runs done, 2 left."  # nothing to go by
    now.monotonic = lambda: 200.0
    one.run.log.write_text('{"num_updates": "10"}')
    other.run.log.write_text('{"num_updates": "10"}')
    # In 100 s 0.45 + 0.9 runs, and 0.1 + 0.1 are left: 14.8 s
    assert clock.state([third], {}) == "1 of 3 runs done, 2 left, about 0:00:15 to go."
    # In 100 s 1 - 0.45 + 0.9 runs; none is left, because one has failed
    assert clock.state([third, one], {other: "x"}) == "2 of 3 runs done, 0 left, 1 failed."


def test_a_run_at_work_says_where_it_is_and_uses_its_gpu_and_its_share_of_the_cores(tmp_path):
    run = training(tmp_path / "alpha1")
    work = at_once.Work(run, "3", "2")
    assert (work.env["CUDA_VISIBLE_DEVICES"], work.env["OMP_NUM_THREADS"]) == ("3", "2")
    run.run.log.write_text('{"num_updates": "7"}')
    assert str(work) == "alpha1 seed 1 (update 7)"
    train, evaluate = work.stages
    assert train == ["scripts/train.sh", *run.arguments()]
    assert evaluate == ["scripts/evaluate_translation.sh", str(run.run)]
    work.stages.clear()
    assert str(work) == "alpha1 seed 1 (being scored)"
    assert work.problem() == ""
    work.errors.close()


def test_scores_count_if_they_are_those_of_the_best_checkpoint(tmp_path):
    run = RunFolder(tmp_path)
    assert not at_once.is_scored(run)
    folder = run.evaluation("best")
    folder.mkdir(parents=True)
    run.checkpoints.mkdir()
    run.best.write_bytes(b"model")
    scores = {"bleu": 30.0, "checkpoint_sha256": hashlib.sha256(b"model").hexdigest()}
    (folder / "test.json").write_text(json.dumps(scores))
    assert at_once.is_scored(run)
    run.best.write_bytes(b"better")
    assert not at_once.is_scored(run)
    run.best.unlink()
    assert not at_once.is_scored(run)
