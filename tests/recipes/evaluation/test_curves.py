"""What a training log says: logs of several starts, the time of training, the best checkpoint."""

from pathlib import Path

from recipes.evaluation import curves, report
from recipes.training.run_folder import RunFolder
from support.made_up_log import BEGIN_VALID, FRESH, LOG, epoch_end, inner, make_run, paused, resumed, valid


def columns(folder: Path, log: str, config: str = "") -> dict[str, float]:
    """Return the numbers in the table of a run with this log."""
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


def test_the_training_loss_is_that_since_the_validation_before():
    both = {"loss": 9.0, "nll_loss": 3.0, "ppl": 8.0}
    of_language_model = {30: {"loss": 2.0, "ppl": 4.0}, 40: {"loss": 3.0, "ppl": 8.0}}  # the loss is the NLL
    of_sentences = {60: {"loss": 0.7, "nll_loss": 0.1}}
    inner = {10: both, 20: both | {"nll_loss": 5.0}} | of_language_model | of_sentences | {80: both}
    assert curves.training_loss(inner, [20, 45, 50, 70]) == {20: 4.0, 45: 2.5}


def test_updates_that_no_line_sums_up_take_the_time_of_those_around_them(tmp_path):
    """fairseq resets its sums when it goes on from the end of an epoch, but not when it goes on within one."""
    start = FRESH + inner(100, 100) + valid(150, 3, 9)
    assert columns(tmp_path, start)["minutes"] == 150 / 60
    within = start + resumed(150) + inner(200, 200) + valid(200, 2, 8)
    assert columns(tmp_path, within)["minutes"] == (100 + 200) / 60
    after_epoch = start + epoch_end(150) + resumed(150) + inner(200, 100) + valid(200, 2, 8)
    assert columns(tmp_path, after_epoch)["minutes"] == (100 + 2 * 100) / 60


def test_the_time_in_which_a_run_was_paused_is_not_training(tmp_path, capsys):
    """train.sh notes a pause; fairseq's clock goes on in it, unless the run validates or reads data."""
    end = inner(300, 20) + valid(300, 3, 9)
    log = FRESH + inner(100, 20) + paused(1200) + paused(780) + inner(200, 2000) + end
    assert columns(tmp_path, log)["minutes"] == 3 * 20 / 60
    assert "33.0 minutes in which it was paused are not counted" in capsys.readouterr().err
    for elsewhere in (BEGIN_VALID + paused(50) + valid(100, 3, 9), paused(2000)):
        assert columns(tmp_path, FRESH + inner(100, 20) + elsewhere + inner(200, 60) + end)["minutes"] == 100 / 60
    assert capsys.readouterr().err == ""


def test_a_pause_counts_with_the_updates_around_it_when_the_run_goes_on(tmp_path, capsys):
    """A checkpoint within an epoch holds the sums that fairseq has begun, with the pause. So does no other one."""
    begin = FRESH + inner(100, 20) + paused(300) + valid(150, 3, 9) + paused(70)
    after = inner(200, 320) + valid(200, 2, 8)
    assert columns(tmp_path, begin + resumed(150) + after)["minutes"] == 40 / 60
    assert columns(tmp_path, begin + epoch_end(150) + resumed(150) + after)["minutes"] == (20 + 2 * 320) / 60
    assert columns(tmp_path, FRESH + inner(100, 20) + paused(30) + FRESH + inner(100, 40) + after)["minutes"] == 6
    capsys.readouterr()


def test_long_intervals_are_no_pauses(tmp_path, capsys):
    """A late start of R-Drop on a machine that is busy then, and a new start of the training, slow at first."""
    late = FRESH + inner(100, 20) + inner(200, 20) + inner(300, 200) + inner(400, 50) + valid(400, 3, 9)
    assert columns(tmp_path, late)["minutes"] == 290 / 60
    again = late + resumed(400) + inner(500, 300) + valid(500, 3, 9)
    assert columns(tmp_path, again)["minutes"] == 590 / 60
    assert capsys.readouterr().err == ""


def test_starts_count_unless_a_later_one_trained_their_updates_again(tmp_path):
    log = tmp_path / "train.log"
    log.write_text("x\n" + FRESH + inner(5, 1) + resumed(5) + FRESH + resumed(10) + resumed(20) + resumed(20))
    assert curves.starts(log) == [-1, 5, -1, 10, 20, 20]
    assert curves.starts_that_count(curves.starts(log)) == [2, 3, 5]
    assert curves.starts_that_count([0, 7, 3]) == [0, 2] and curves.starts_that_count([]) == []


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
