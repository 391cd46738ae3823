"""How far the runs of a study are: by their updates, epochs or hours; and the estimate."""

from types import SimpleNamespace

import pytest
from recipes.studies import progress
from support.made_up_log import FRESH, inner, resumed, valid
from support.made_up_study import training


def test_how_far_a_run_is_stands_at_the_end_of_its_log(tmp_path):
    run = training(tmp_path / "run")
    assert progress.trained(run) == progress.last_update(run.run.log) == 0
    long = '{"num_updates": "1"}\n' + "x" * progress.TAIL + '\n{"num_updates": "3"}\n{"num_updates": "4"}\n{"num_upd'
    run.run.log.write_text(long)
    assert (progress.last_update(run.run.log), progress.trained(run)) == (4, 0.4)
    run.run.log.write_text('{"num_updates": "12"}')
    assert progress.trained(run) == 1
    endless = training(tmp_path / "endless", max_update=0)
    endless.run.log.write_text('{"num_updates": "12"}')
    assert progress.trained(endless) == 0
    endless.run.finished.write_text("")
    assert progress.trained(endless) == 1


def test_the_estimate_is_that_of_the_same_speed(tmp_path, monkeypatch):
    now = SimpleNamespace(monotonic=lambda: 100.0)
    monkeypatch.setattr(progress, "time", now)
    one, other, third = (training(tmp_path / name) for name in "abc")
    one.run.log.write_text('{"num_updates": "5"}')
    clock = progress.Clock([one, other, third], [third])
    assert clock.state([third], {}) == "1 of 3 runs done, 2 left."  # nothing to go by
    now.monotonic = lambda: 200.0
    one.run.log.write_text('{"num_updates": "10"}')
    other.run.log.write_text('{"num_updates": "10"}')
    # In 100 s 0.45 + 0.9 runs, and 0.1 + 0.1 are left: 14.8 s
    assert clock.state([third], {}) == "1 of 3 runs done, 2 left, about 0:00:15 to go."
    # In 100 s 1 - 0.45 + 0.9 runs; none is left, because one has failed
    assert clock.state([third, one], {other: "x"}) == "2 of 3 runs done, 0 left, 1 failed."


def test_a_run_that_epochs_limit_is_as_far_as_its_epochs(tmp_path):
    run = training(tmp_path / "run", max_epoch=4, max_update=1000)
    assert progress.trained(run) == 0
    inside = '[train_inner][INFO] - {"epoch": 2, "update": 1.5, "loss": "2", "num_updates": "15"}\n'
    run.run.log.write_text(inside)
    assert progress.trained(run) == 1.5 / 4
    validates = '[valid][INFO] - {"epoch": 2, "valid_loss": "2", "valid_num_updates": "20"}\n'
    run.run.log.write_text(inside + validates + '[train][INFO] - {"epoch": 2, "train_num_updates": "20"}\n')
    assert progress.trained(run) == 2 / 4
    nearer = training(tmp_path / "nearer", max_epoch=4, max_update=20)  # the limit that it reaches first counts
    nearer.run.log.write_text(inside)
    assert progress.trained(nearer) == 15 / 20


def at(time: str, lines: str) -> str:
    """Lines of a log with this time of the day."""
    return "".join(f"[2026-05-01 {time},500]{line}\n" for line in lines.splitlines())


def test_a_run_that_hours_limit_is_as_far_as_fairseqs_hours(tmp_path):
    """A run that was killed: what it trained after its checkpoint does not count, and neither does the time between."""
    run = training(tmp_path / "run", stop_time_hours=8, max_update=0)
    assert progress.trained(run) == 0
    start = at("09:00:00", "[fairseq_cli.train][INFO] - {}") + at("10:00:00", FRESH) + at("11:00:00", inner(5, 30))
    run.run.log.write_text(start)
    assert progress.trained(run) == pytest.approx(1 / 8)
    saved = at("11:30:00", valid(5, 3, 9))
    killed = start + saved + at("12:30:00", inner(10, 30))
    run.run.log.write_text(killed)
    assert progress.trained(run) == pytest.approx(2.5 / 8)
    again = killed + "[valid][IN" + at("20:00:00", "[fairseq_cli.train][INFO] - {}") + at("21:00:00", resumed(5))
    run.run.log.write_text(again + at("22:00:00", inner(10, 30)))
    assert progress.trained(run) == pytest.approx(2.5 / 8)
    run.run.log.write_text(again + at("22:00:00", FRESH) + at("23:00:00", inner(10, 30)))
    assert progress.trained(run) == pytest.approx(1 / 8)
