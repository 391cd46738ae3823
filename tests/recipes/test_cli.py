"""recipes/cli.py: numbers on command lines have bounds, and an error is one line."""

import argparse
import os
import subprocess
import sys

import pytest
from recipes import cli
from support.places import SCRIPTS
from support.waiting import HANG


@pytest.mark.parametrize("kind", ["positive", "natural"])
def test_integers_have_a_bound(kind: str) -> None:
    read = getattr(cli, kind)
    assert [read(text) for text in ("1", "007", str(2**31 - 1))] == [1, 7, 2**31 - 1]
    for text in (str(2**31), "9" * 20, "1" * 5000):
        with pytest.raises(argparse.ArgumentTypeError, match="must be an integer up to 2147483647, not '"):
            read(text)
    for text in ("", "-1", "1.5", "1_000", "²", "٣", " 1", "many", *(["0", "00"] if kind == "positive" else [])):
        with pytest.raises(argparse.ArgumentTypeError, match=rf"must be an? .*integer.*, not '{text}'"):
            read(text)
    if kind == "natural":
        assert read("00") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--lines", "9" * 20, "x"],
            "argument --lines: must be an integer up to 2147483647, not '99999999999999999999'",
        ),
        (["--lines", "0", "x"], "argument --lines: must be a positive integer, not '0'"),
        (["--lines", "²", "x"], "argument --lines: must be a positive integer, not '²'"),
        (["--lines", "-1", "x"], "argument --lines: must be a positive integer, not '-1'"),
        (["x", "--lines"], "argument --lines: expected one argument"),
        (["--line", "1", "x"], "unrecognized arguments: --line x"),
        ([], "the following arguments are required: FILE"),
    ],
)
def test_a_bad_value_is_one_line(arguments: list[str], message: str) -> None:
    parser = cli.Parser()
    parser.add_argument("--lines", type=cli.positive)
    parser.add_argument("file", metavar="FILE")
    with pytest.raises(SystemExit) as error:
        parser.parse_args(arguments)
    assert error.value.code == f"{message} (see --help)"


def test_the_cores_are_those_on_which_the_process_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert cli.cores() == 3
    monkeypatch.delattr("os.sched_getaffinity")  # as on macOS
    assert cli.cores() == 64


def test_a_closed_output_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(SystemExit, match="1"):
        cli.run(lambda _: pytest.fail("it ran"), "translate.sh", [])
    assert capsys.readouterr().err == "translate.sh: the standard output is closed\n"


LOST = """
import os, signal, time
from recipes import cli
class Dropped:
    def __del__(self):
        os.kill(os.getpid(), signal.NUMBER)
        time.sleep(0)  # the handler runs here, and what it raises is dropped
def main(arguments):
    Dropped()
    time.sleep(1000)
cli.run(main, "command", [])
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_in_a_destructor_is_not_lost(number: str) -> None:
    """Python drops what a handler raises there, and the command would run on."""
    command = [sys.executable, "-c", LOST.replace("NUMBER", number)]
    env = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=HANG)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "command: interrupted\n")
