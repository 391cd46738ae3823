"""Where a run stands: whether it is finished, and from which checkpoint it goes on."""

import pytest
from omegaconf import OmegaConf
from recipes.training import checkpoints
from recipes.training.run_folder import RunFolder


@pytest.mark.parametrize(
    "limits, finished",
    [
        ({"max_update": 30}, True),
        ({"max_update": 31}, False),
        ({"max_epoch": 3}, True),
        ({"max_epoch": 4}, False),
        ({"stop_time_hours": 2.9}, True),
        ({"stop_time_hours": 3.1, "max_update": 0}, False),
    ],
)
def test_a_checkpoint_says_whether_a_run_is_finished(tmp_path, checkpoint, limits, finished):
    run = RunFolder(tmp_path)
    checkpoint(run.last, 30)
    assert checkpoints.is_finished(OmegaConf.create({"optimization": limits}), run) is finished


def test_a_run_that_ended_early_is_finished_until_another_limit_is_given(tmp_path, checkpoint):
    run = RunFolder(tmp_path)
    checkpoint(run.best, 30)
    cfg = OmegaConf.create({"checkpoint": {"patience": 2}, "optimization": {"max_update": 1000}})
    checkpoints.note_finished(cfg, run)
    assert checkpoints.is_finished(cfg, run)
    cfg.checkpoint.patience = 5
    assert not checkpoints.is_finished(cfg, run)


@pytest.mark.parametrize("last", [None, b"PK\x03\x04cut"])
def test_the_newest_whole_checkpoint_takes_the_place_of_the_last_one(tmp_path, checkpoint, last, capsys):
    run = RunFolder(tmp_path)
    checkpoint(run.checkpoints / "checkpoint_1_20.pt", 20)
    checkpoint(run.best, 25)
    checkpoint(run.checkpoints / "checkpoint2.pt", 10)
    checkpoint(run.checkpoints / "checkpoint_average.pt", 40, last_optimizer_state=None)
    cut = (run.checkpoints / "checkpoint2.pt").read_bytes()[:-40]
    (run.checkpoints / "checkpoint_1_30.pt").write_bytes(cut)
    if last:
        run.last.write_bytes(last)
    checkpoints.mend_last_checkpoint(run)
    assert "going on from checkpoint_best.pt" in capsys.readouterr().out
    assert run.last.read_bytes() == run.best.read_bytes()


def test_no_whole_checkpoint_is_said(tmp_path):
    run = RunFolder(tmp_path)
    run.checkpoints.mkdir()
    for name in ("last", "1_5", "best"):
        (run.checkpoints / f"checkpoint_{name}.pt").write_bytes(b"PK")
    with pytest.raises(
        SystemExit, match=r"is cut short .* can go on from no other checkpoint; delete .* to start from"
    ):
        checkpoints.mend_last_checkpoint(run)
