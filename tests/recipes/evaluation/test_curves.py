"""What a training log says: logs of several starts, the time of training, the best checkpoint."""

from pathlib import Path

from recipes.evaluation import report
from recipes.training.run_folder import RunFolder
from support.made_up_log import FRESH, LOG, epoch_end, inner, make_run, resumed, valid


def columns(folder: Path, log: str, config: str = "") -> dict[str, float]:
    """The numbers in the table of a run with this log."""
    run = make_run(folder / "rdrop/seed1", 30.0)
    (run / "train.log").write_text(log)
    if config:
        (run / "train.yaml").write_text(config)
    return report.columns(report.read_run(RunFolder(run), "best"))


def test_what_was_trained_after_the_last_checkpoint_counts_once(tmp_path):
    """Killed at 300 and something, resumed from 200, killed, resumed from 200 again; all starts write one log."""
    whole = FRESH + inner(100, 60) + inner(200, 60) + valid(200, 3, 9)
    after = inner(300, 70) + inner(400, 70) + valid(400, 2, 8)
    killed = whole + inner(300, 500) + valid(300, 1, 50) + '[train_inner][INFO] - {"epoch": 1, "num_upd'
    again = "[fairseq_cli.train][INFO] - {'_name': None}\n" + resumed(200)
    expected = {"updates": 400, "minutes": (60 + 60 + 70 + 70) / 60, "best at": 200, "valid ppl": 8, "valid BLEU": 9}
    for log in (whole + after, killed + again + after, killed + again + inner(300, 400) + again + after):
        assert columns(tmp_path, log).items() >= expected.items()
    assert columns(tmp_path, killed + again)["updates"] == 200  # nothing after the checkpoint is in the model
    assert columns(tmp_path, killed + FRESH + whole + after).items() >= expected.items()


def test_updates_that_no_line_sums_up_take_the_time_of_those_around_them(tmp_path):
    """fairseq resets its sums when it goes on from the end of an epoch, but not when it goes on within one."""
    start = FRESH + inner(100, 100) + valid(150, 3, 9)
    assert columns(tmp_path, start)["minutes"] == 150 / 60
    within = start + resumed(150) + inner(200, 200) + valid(200, 2, 8)
    assert columns(tmp_path, within)["minutes"] == (100 + 200) / 60
    after_epoch = start + epoch_end(150) + resumed(150) + inner(200, 100) + valid(200, 2, 8)
    assert columns(tmp_path, after_epoch)["minutes"] == (100 + 2 * 100) / 60


def test_the_time_in_which_a_run_was_stopped_is_not_training(tmp_path, capsys):
    log = FRESH + "".join(inner(at, 2000 if at == 300 else 20) for at in range(100, 600, 100)) + valid(500, 3, 9)
    assert columns(tmp_path, log)["minutes"] == 5 * 20 / 60
    assert "33.0 minutes in which it was stopped are not counted" in capsys.readouterr().err
    # A busy machine is none that was stopped, and a slow first second is no pause.
    log = FRESH + inner(100, 20) + inner(200, 50) + inner(300, 20) + valid(300, 3, 9)
    assert columns(tmp_path, log)["minutes"] == 90 / 60
    log = FRESH + inner(1, 9) + inner(2, 0) + inner(3, 0) + valid(3, 3, 9)
    assert columns(tmp_path, log)["minutes"] == 9 / 60
    assert capsys.readouterr().err == ""


def test_the_best_checkpoint_is_the_one_that_fairseq_keeps(tmp_path):
    """Of equal scores the last; by the run's own metric; among those that were saved; never NaN."""
    equal = FRESH + valid(5, 3, 9) + valid(10, 2, 9) + valid(15, 1, 8)
    assert columns(tmp_path, equal)["best at"] == 10
    assert columns(tmp_path, FRESH + valid(5, 3, 9) + valid(10, 2, 99, saved=False))["best at"] == 5
    assert columns(tmp_path, FRESH + valid(5, 3, 9) + valid(10, 2, float("nan")))["best at"] == 5
    falling = FRESH + valid(5, 3, 4) + valid(10, 2, 3) + valid(15, 1, 3) + valid(20, 1, 5)  # the score as if of a loss
    assert columns(tmp_path, falling, "common: {seed: 1}\n")["best at"] == 15


def test_what_a_log_holds_beside_its_numbers_does_no_harm(tmp_path):
    run = make_run(tmp_path / "rdrop/seed1", 30.0)
    log = b'\xff\x00\n[valid][INFO] - [3]\n[train_inner][INFO] - {"num_updates": {}}\n' + LOG.encode()
    log += b"[x][INFO] - Saved checkpoint c (epoch 1 @ 10 updates, score None) (writing took 1 seconds)\n"
    (run / "train.log").write_bytes(log)
    assert report.columns(report.read_run(RunFolder(run), "best"))["best at"] == 5
