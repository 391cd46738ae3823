"""What is known of the conditions of runs, and what the table of times says of them."""

import json

import pytest
from recipes.studies import conditions
from recipes.studies.conditions import Conditions, Record
from recipes.training.run_folder import RunFolder
from support.made_up_log import FRESH, inner, resumed

CPU = "python 3.11\ncpu Some CPU, x86_64, 4 cores, 2 threads used\n"
GPU = "python 3.11\ngpu Some GPU\ncpu Some CPU, x86_64, 4 cores, 2 threads used\n"


@pytest.fixture
def run(tmp_path) -> RunFolder:
    (tmp_path / "versions.txt").write_text(CPU)
    return RunFolder(tmp_path)


def start(run: RunFolder, line: str, *times: tuple[float, int, int], device: str = "cpu", threads: str = "2") -> None:
    """Train; each of `times` is seconds, how many runs were at work, and how many of them on the same device."""
    record = Record(run, device, threads)
    with run.log.open("a") as log:
        log.write(line + inner(100, 20))
    for time in times:
        record.add(*time)
    record.write()


def test_each_start_has_the_conditions_under_which_it_trained(run):
    start(run, FRESH, (30, 2, 2), (10, 1, 1))
    assert conditions.conditions_of(run) == [Conditions("Some CPU", "2", 40, 1.75, 1.75)]
    run.versions.write_text(GPU)
    start(run, resumed(100), (10, 5, 3), device="gpu", threads="1")
    assert conditions.conditions_of(run)[1] == Conditions("Some GPU", "1", 10, 5, 3)
    assert json.loads(run.conditions.read_text())["0"]["runs"] == 1.75
    start(run, FRESH, (20, 1, 1))  # from nothing: what was trained before is gone
    assert conditions.conditions_of(run) == [Conditions("Some CPU", "2", 20, 1, 1)]


def test_not_known_is_what_no_study_has_trained(run):
    run.log.write_text(FRESH)
    assert conditions.conditions_of(run) == [None]
    start(run, resumed(100), (20, 1, 1))
    assert conditions.conditions_of(run) == [None, Conditions("Some CPU", "2", 20, 1, 1)]
    with run.log.open("a") as log:
        log.write(resumed(200))  # by train.sh itself
    assert conditions.conditions_of(run)[2:] == [None]
    for wrong in ("{", "[]", '{"1": 5}', '{"1": {"device": "x"}}'):
        run.conditions.write_text(wrong)
        assert conditions.conditions_of(run) == [None] * 3


def test_a_training_that_never_began_changes_nothing(run):
    start(run, FRESH, (20, 1, 1))
    before = run.conditions.read_text()
    record = Record(run, "cpu", "2")
    record.add(5, 3, 3)
    record.write()
    assert run.conditions.read_text() == before


def test_a_log_that_was_put_aside_does_not_count(run):
    """train.sh does that where a start with another config saved no checkpoint; the numbers of starts begin again."""
    start(run, FRESH, (20, 1, 1))
    record = Record(run, "cpu", "1")
    for path in (run.log, run.conditions):
        path.rename(f"{path}.1")
    run.log.write_text(FRESH)
    record.add(30, 2, 2)
    record.write()
    assert conditions.conditions_of(run) == [Conditions("Some CPU", "1", 30, 2, 2)]


def test_conditions_that_cannot_be_written_end_nothing(run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conditions, "write_whole", full)
    start(run, FRESH, (20, 1, 1))
    assert conditions.conditions_of(run) == [None]


def test_it_is_written_while_it_trains(run, monkeypatch):
    monkeypatch.setattr(conditions, "FIRST", -1)
    record = Record(run, "cpu", "2")
    record.add(2, 3, 3)
    run.log.write_text(FRESH)
    record.add(3, 3, 3)
    assert conditions.conditions_of(run) == [Conditions("Some CPU", "2", 5, 3, 3)]


ALONE, PAIR = Conditions("A", "2", 100, 1, 1), Conditions("A", "1", 100, 2, 2)
ON_GPU = Conditions("G", "4", 100, 5, 3)


def test_the_note_says_beside_how_many_and_on_what():
    assert conditions.note_on_times([("rdrop", 1, [ALONE])]) == (
        "- Trained one run at a time, with 2 threads, on A: all runs.\n"
    )
    told = conditions.note_on_times([("rdrop", 1, [ON_GPU])])
    assert told == "- Trained 5 runs at once, 3 of them on a GPU, with 4 threads each, on G: all runs.\n"
    almost = Conditions("A", "1", 100, 1.9, 1.9)  # the last one was alone for a while
    assert conditions.note_on_times([("rdrop", 1, [PAIR]), ("baseline", 1, [almost, PAIR])]) == (
        "- Trained 2 runs at once, with 1 thread each, on A: all runs.\n"
    )


def test_the_note_names_what_does_not_compare():
    runs = [("baseline", 1, [ALONE]), ("baseline", 2, [PAIR]), ("rdrop", 1, [PAIR]), ("rdrop", 2, [PAIR])]
    assert conditions.note_on_times(runs) == (
        "- Times of baseline seed 1 and of baseline seed 2, rdrop do not compare: they were not trained alike. "
        "What the table says of minutes where it mixes them is not reliable.\n"
        "- Trained one run at a time, with 2 threads, on A: baseline seed 1.\n"
        "- Trained 2 runs at once, with 1 thread each, on A: baseline seed 2, rdrop.\n"
    )
    resumed = conditions.note_on_times([("baseline", 1, [ALONE]), ("rdrop", 1, [ALONE, PAIR])])
    assert "- Times of baseline and of rdrop do not compare" in resumed
    assert (
        "- Trained 2 runs at once, with 1 thread each, on A, partly one run at a time, with 2 threads, on A: rdrop."
        in (resumed)
    )
    for other in (
        Conditions("B", "2", 100, 1, 1),  # other hardware
        Conditions("A", "1", 100, 1, 1),  # other threads
        Conditions("A", "2", 100, 1.2, 1.2),
    ):
        assert "do not compare" in conditions.note_on_times([("a", 1, [ALONE]), ("b", 1, [other])])
    beside = Conditions("G", "4", 100, 5, 2)  # on a GPU with fewer runs
    assert "do not compare" in conditions.note_on_times([("a", 1, [ON_GPU]), ("b", 1, [beside])])


def test_the_note_says_what_is_not_known():
    unknown = "It is not known how many runs were at work at once, and on what"
    assert conditions.note_on_times([("a", 1, [None])]) == f"- {unknown}: all runs. Their times may not compare.\n"
    assert conditions.note_on_times([("a", 1, [ALONE, None]), ("a", 2, [ALONE])]) == (
        "- Trained one run at a time, with 2 threads, on A: a seed 2.\n"
        f"- {unknown}: a seed 1. Their times may not compare.\n"
    )
    assert conditions.note_on_times([]) == ""
