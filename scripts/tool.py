"""Run a Python tool of this folder so that ^C or a full disk ends it without a traceback: tool.py NAME ARGUMENT..."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)

import importlib  # noqa: E402
import sys  # noqa: E402
from concurrent.futures.process import BrokenProcessPool  # noqa: E402

import children  # noqa: E402


def main() -> None:
    del sys.argv[0]
    try:
        children.end_with_caller()
    except RuntimeError as error:  # no more threads are allowed
        sys.exit(f"{sys.argv[0]}: {error}")
    try:
        sys.exit(importlib.import_module(sys.argv[0]).main())
    except (OSError, BrokenProcessPool) as error:
        sys.exit(f"{sys.argv[0]}: {error}")


if __name__ == "__main__":
    main()
