"""Run a module of this package for a shell script: tool.py NAME ARGUMENT..."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)

import importlib  # noqa: E402
import sys  # noqa: E402
from concurrent.futures.process import BrokenProcessPool  # noqa: E402
from importlib.util import find_spec  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path[0] = str(Path(__file__).resolve().parents[1])
from recipes import children  # noqa: E402


def main() -> None:
    del sys.argv[0]
    try:
        children.end_with_caller()
    except RuntimeError as error:  # no more threads are allowed
        sys.exit(f"{sys.argv[0]}: {error}")
    places = [f"recipes.{package}{sys.argv[0]}" for package in ("", "text.", "data.", "training.")]
    try:
        sys.exit(importlib.import_module(next(filter(find_spec, places))).main())
    except (OSError, BrokenProcessPool) as error:
        sys.exit(f"{sys.argv[0]}: {error}")


if __name__ == "__main__":
    main()
