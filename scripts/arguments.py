"""Command lines of the Python tools: what is wrong is said in one line."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
MOST = 2**31 - 1  # of an integer
STEEPEST = 50  # of a length penalty: a length to this power is still a number


def find_python(*modules: str) -> None:
    """Let a tool that was started by its name find its modules: as find_python of lib.sh does it for the shell scripts.

    Where this Python lacks one of them, that of the repository's .venv takes over; where that lacks it too, exit. ^C
    while the modules are imported ends without a traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    python = ROOT / ".venv/bin/python3"
    if missing := [name for name in modules if find_spec(name) is None]:
        if python.exists() and Path(sys.prefix).resolve() != python.parent.parent.resolve():
            os.execv(python, [str(python), *sys.argv])
        sys.exit(f"not installed: {' '.join(missing)}; run make install, or activate the environment that has it")
    sys.path.append(str(ROOT))


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage above it."""

    def __init__(self, description: str | None = None, **settings: object) -> None:
        super().__init__(
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **settings,  # type: ignore[arg-type]
        )

    def error(self, message: str) -> NoReturn:
        sys.exit(f"{self.prog}: {message} (see --help)")


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


def positives(text: str) -> list[int]:
    """Return the positive integers of a list like 4,5,6, each once."""
    return list(dict.fromkeys(positive(part) for part in text.split(",")))


def penalties(text: str) -> list[float]:
    """Return the length penalties of a list like 0.6,1,1.4, each once."""
    return list(dict.fromkeys(penalty(part) for part in text.split(",")))


def check_each_once(folders: Sequence[Path]) -> None:
    """Exit if two of the folders that are there are one, whatever they are called."""
    for one, other in combinations([folder for folder in folders if folder.exists()], 2):
        if one.samefile(other):
            sys.exit(f"{one} and {other} are one run: give each run once")


def run(main: Callable[[], None]) -> None:
    """Run a tool so that ^C, an end from outside or a full disk is one line, once what is half-made is removed."""

    def stop(*_: object) -> NoReturn:
        sys.exit("interrupted")

    sys.unraisablehook = lambda _: None  # an object that was half-made then may fail when it goes, as some of fairseq's
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        main()
    except OSError as error:
        sys.exit(str(error))
