"""recipes/data/pipeline.py: steps that are whole or absent, settings that must agree, one run in a folder, ^C."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from recipes import cli
from recipes.data import pipeline
from recipes.data.pipeline import LOCK, Step, prepare
from recipes.data.prepared import Prepared, read_prepared
from recipes.files import lock
from support.prepare import content, state


def made_with(**options: str | int | bool) -> Prepared:
    return Prepared("prepare_x.sh", {"pair": "de-en", **options}, testsets=["test"])


class Steps:
    """Two steps, `raw` and then `tok bpe`, that count how often they run."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def make(self, name: str, fail: Callable[[], object] = int) -> Step:
        def run(part: Path) -> None:
            self.ran.append(name)
            for folder in name.split():
                assert list((part / folder).iterdir()) == []
                (part / folder / "text").write_text(f"{folder} {len(self.ran)}\n")
            (part / ".whole").mkdir()
            fail()

        return Step(name, run)

    def all(self, fail: Callable[[], object] = int) -> list[Step]:
        return [self.make("raw"), self.make("tok bpe", fail)]


@pytest.fixture
def steps() -> Steps:
    return Steps()


def test_steps_run_once(tmp_path: Path, steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "out"
    prepare(out, made_with(), steps.all(), lambda: {"a.tgz": "0a1b"})
    texts = {name for name in content(out) if "/" in name}
    assert texts == {"raw/text", "tok/text", "bpe/text"}
    assert {path.name for path in out.iterdir()} == {"raw", "tok", "bpe", "settings.json", LOCK}
    assert read_prepared(out).sources == {"a.tgz": "0a1b"}
    assert capsys.readouterr().out == "raw: done in 0 s\ntok bpe: done in 0 s\n"
    before = state(out)
    prepare(out, made_with(), steps.all(), lambda: pytest.fail("the sources are read again"))
    assert capsys.readouterr().out == "raw: done before\ntok bpe: done before\n"
    assert state(out) == before
    assert steps.ran == ["raw", "tok bpe"]


def test_a_step_that_fails_leaves_nothing(tmp_path: Path, steps: Steps) -> None:
    def fail() -> None:
        raise SystemExit("no")

    with pytest.raises(SystemExit, match="no"):
        prepare(tmp_path, made_with(), steps.all(fail))
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "settings.json", LOCK}
    prepare(tmp_path, made_with(), steps.all())
    assert steps.ran == ["raw", "tok bpe", "tok bpe"]


def test_later_steps_are_stale_when_one_is_made_again(tmp_path: Path, steps: Steps) -> None:
    prepare(tmp_path, made_with(), steps.all())
    (tmp_path / "raw").rename(tmp_path / "gone")
    with pytest.raises(SystemExit):
        prepare(tmp_path, made_with(), [steps.make("raw", lambda: exit(1)), *steps.all()[1:]])
    assert (tmp_path / "tok").is_dir()  # the new one was not there yet
    prepare(tmp_path, made_with(), steps.all())
    assert steps.ran[-2:] == ["raw", "tok bpe"]
    assert (tmp_path / "tok" / "text").read_text() == f"tok {len(steps.ran)}\n"


def test_what_a_killed_run_leaves_is_removed(tmp_path: Path, steps: Steps) -> None:
    """Temporary folders, and one folder of a step whose other folder had not got its name yet."""
    for left in (".prepare.a1b2c3d4.part/raw", ".prepare.e5_f6g78.part/tok", "tok"):
        (tmp_path / left).mkdir(parents=True)
    (tmp_path / LOCK).touch()
    made_with().write(tmp_path)
    prepare(tmp_path, made_with(), steps.all())
    assert not list(tmp_path.glob(".*.part"))
    assert (tmp_path / "tok" / "text").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bpe": 41}, "was made with bpe: 40, not with bpe: 41; use another --out"),
        ({}, "was made with bpe: 40, not with no bpe; use another --out"),
        ({"bpe": 40, "fish": True}, "was made with no fish, not with fish: yes; use another --out"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, steps: Steps, options: dict[str, int], message: str) -> None:
    prepare(tmp_path, made_with(bpe=40), steps.all())
    before = state(tmp_path)
    with pytest.raises(SystemExit, match=message):
        prepare(tmp_path, made_with(**options), steps.all())
    assert state(tmp_path) == before


def test_other_sources_are_refused_and_after_an_option(tmp_path: Path, steps: Steps) -> None:
    """The sources may differ because of an option."""
    prepare(tmp_path, made_with(bpe=40), steps.all(), lambda: {"a.tgz": "0a1b", "b.tgz": "2c"})
    prepare(tmp_path, made_with(bpe=40), steps.all(), lambda: {"a.tgz": "0a1b"}, source_is_given=True)
    prepare(tmp_path, made_with(bpe=40), steps.all(), lambda: {"a.tgz": "ffff"})
    other = {"sources": lambda: {"a.tgz": "ffff"}, "source_is_given": True}
    with pytest.raises(SystemExit, match=r"was made with a\.tgz: 0a1b, not with a\.tgz: ffff"):
        prepare(tmp_path, made_with(bpe=40), steps.all(), **other)
    with pytest.raises(SystemExit, match="was made with bpe: 40, not with bpe: 41"):
        prepare(tmp_path, made_with(bpe=41), steps.all(), **other)
    with pytest.raises(SystemExit, match=r"was made with no c\.tgz, not with c\.tgz: 3d"):
        prepare(tmp_path, made_with(bpe=40), steps.all(), lambda: {"c.tgz": "3d"}, source_is_given=True)


def test_settings_count_from_the_first_step_on(tmp_path: Path, steps: Steps) -> None:
    """Of a run that ended before it, whatever it wrote is replaced."""
    made_with(bpe=40).write(tmp_path)
    (tmp_path / LOCK).touch()
    prepare(tmp_path, made_with(bpe=41), steps.all())
    assert read_prepared(tmp_path).options["bpe"] == 41


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, steps: Steps) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "program").write_text("mine")
    with pytest.raises(SystemExit, match="holds files that no prepare script made; use another --out"):
        prepare(tmp_path, made_with(), steps.all())
    assert content(tmp_path) == {"bin/program": b"mine"}
    with pytest.raises(SystemExit, match=r"cannot make the folder .*program/out"):
        prepare(tmp_path / "bin" / "program" / "out", made_with(), steps.all())


def test_one_run_in_a_folder(tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pipeline.PATIENCE == 3
    monkeypatch.setattr(pipeline, "PATIENCE", 0.2)
    held = lock(tmp_path / LOCK, 0)
    assert held is not None
    with pytest.raises(SystemExit, match=f"another run is at work in {tmp_path}"):
        prepare(tmp_path, made_with(), steps.all())
    os.close(held)
    prepare(tmp_path, made_with(), steps.all())
    assert steps.ran == ["raw", "tok bpe"]


@pytest.mark.parametrize("number", cli.SIGNALS)
def test_a_signal_ends_a_run_with_one_line(
    tmp_path: Path,
    steps: Steps,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        os.kill(os.getpid(), number)
        pytest.fail("the signal did not end the step")

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # which `cli.run` leaves set
    with pytest.raises(SystemExit) as end:
        cli.run(lambda _: prepare(tmp_path, made_with(), steps.all(fail)), "prepare.sh", [])
    assert end.value.code == 128 + number
    assert capsys.readouterr().err == "prepare.sh: interrupted; run it again to go on\n"
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "settings.json", LOCK}
