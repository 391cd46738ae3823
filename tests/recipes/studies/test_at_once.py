"""How many runs are at work and where, and what is known of their scores."""

import hashlib
import json

import pytest
import torch
from recipes.studies import at_once
from recipes.training.run_folder import RunFolder
from support.made_up_study import training


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


def test_a_script_says_what_it_starts():
    assert at_once.command_of("scripts/train.sh") == ["training.launch", "fairseq"]
    wanted = ["evaluation.translation", "fairseq", "sacremoses", "sacrebleu"]
    assert at_once.command_of("scripts/evaluate_translation.sh") == wanted


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
