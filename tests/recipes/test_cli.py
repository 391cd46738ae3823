"""recipes/cli.py: numbers on command lines have bounds, and an error is one line."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys

import pytest
from recipes import cli
from support.places import SCRIPTS
from support.waiting import HANG


@pytest.fixture(autouse=True)
def _hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the hook that `cli.run` leaves set."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)


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


INTERRUPTED = """
import os, signal, sys, time
from recipes import cli

def send():
    os.kill(os.getpid(), signal.NUMBER)

class Dropped:
    def __del__(self):
        send()
        time.sleep(0)  # the handler runs here, and Python drops what it raises

def in_a_destructor():
    Dropped()
    time.sleep(1000)

def before_a_failure():
    try:
        send()
    finally:
        raise ValueError("what the signal has left half-made")

def while_a_refusal_is_taken():
    try:
        send()
    except SystemExit:
        print("the signal was taken for a refusal")

def asleep():
    print("asleep", flush=True)
    time.sleep(1000)

def in_a_worker():
    if os.fork() == 0:
        send()
    _, status = os.wait()
    print(os.waitstatus_to_exitcode(status), flush=True)
    send()

def twice():
    try:
        send()
    finally:
        send()
        print("removed", flush=True)

cli.run(lambda _: PLACE(), "command", [])
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize(
    ("place", "printed"),
    [
        ("in_a_destructor", ""),
        ("before_a_failure", ""),
        ("while_a_refusal_is_taken", ""),
        ("in_a_worker", "1\n"),
        ("twice", "removed\n"),
    ],
)
def test_a_signal_ends_a_command_with_one_line_wherever_it_comes(place: str, printed: str, number: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED.replace("PLACE", place).replace("NUMBER", number)]
    env = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=HANG)
    status = 128 + getattr(signal, number)
    assert (result.returncode, result.stdout, result.stderr) == (status, printed, "command: interrupted\n")


def test_a_hangup_has_its_status_though_the_terminal_is_gone() -> None:
    terminal, its_side = os.openpty()
    program = INTERRUPTED.replace("PLACE", "asleep").replace("NUMBER", "SIGHUP")
    env = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    streams = {"stdin": its_side, "stdout": its_side, "stderr": its_side}
    process = subprocess.Popen([sys.executable, "-c", program], env=env, start_new_session=True, **streams)
    os.close(its_side)
    said = b""
    while b"asleep" not in said:
        said += os.read(terminal, 100)
    os.close(terminal)
    process.send_signal(signal.SIGHUP)
    assert process.wait(HANG) == 128 + signal.SIGHUP


def test_a_signal_that_was_swallowed_long_ago_hides_no_other_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def main(_: object) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr(cli, "PATIENCE", 0)
        sys.exit("the disk is full")

    with pytest.raises(SystemExit, match=r"^1$"):
        cli.run(main, "command", [])
    assert capsys.readouterr().err == "command: the disk is full\n"


def test_a_signal_that_is_ignored_stays_so(capsys: pytest.CaptureFixture) -> None:
    """nohup ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        cli.run(lambda _: os.kill(os.getpid(), signal.SIGHUP), "command", [])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert capsys.readouterr().err == ""


def test_the_line_says_what_to_do_next_and_what_took_signals_before_takes_them_again(
    capsys: pytest.CaptureFixture,
) -> None:
    def main(_: object) -> None:
        cli.if_interrupted("run it again to go on")
        os.kill(os.getpid(), signal.SIGTERM)

    before = list(map(signal.getsignal, cli.SIGNALS))
    with pytest.raises(SystemExit, match="143"):
        cli.run(main, "command", [])
    assert capsys.readouterr().err == "command: interrupted; run it again to go on\n"
    assert list(map(signal.getsignal, cli.SIGNALS)) == before
    with pytest.raises(SystemExit, match="143"):
        cli.run(lambda _: os.kill(os.getpid(), signal.SIGTERM), "other", [])
    assert capsys.readouterr().err == "other: interrupted\n"
