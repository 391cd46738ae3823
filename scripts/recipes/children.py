"""Child processes that end when their parent does, however it ends, so that none writes on beside the next run.

children.py PARENT MODULE ARGUMENT...: run a Python module, as "python -m" does, until the process PARENT has ended.
"""

import functools
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # that end a command
INTERVAL = 0.5  # seconds between two looks at whether the parent lives

_forking = 0  # the number of the process that forks another one


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a Python module as a child of this process, and ends when this process does."""
    return [sys.executable, "-P", __file__, str(os.getpid()), module, *arguments]


def end_with(parent: int) -> None:
    """End this process, and each one that is forked from it, within seconds after its parent has ended.

    The parent's number comes from the process that starts this one, so a parent that has ended before is noticed too.
    """
    _watch_forks()
    _watch(parent)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let signals wait while this process, which has no other thread, forks others; these take signals at once.

    Python drops an exception that a signal's handler raises inside a hook that runs at a fork, as logging has them.
    """
    _release_in_forked()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


@functools.cache
def _release_in_forked() -> None:
    """Let each process that is forked from now on take signals."""
    os.register_at_fork(after_in_child=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS))


@functools.cache
def _watch_forks() -> None:
    """Let each process that is forked from now on end with the one that forks it."""
    os.register_at_fork(before=_note_forking, after_in_child=_watch_forked)


def _note_forking() -> None:
    """Note the number of this process, which forks another one."""
    global _forking
    _forking = os.getpid()


def _watch_forked() -> None:
    """End this process, which was just forked, when its parent ends; end it at once if that cannot be watched."""
    try:
        _watch(_forking)
    except RuntimeError:  # no more threads are allowed
        os._exit(1)


def _watch(parent: int) -> None:
    """End this process when its parent, the process of that number, has ended."""

    def follow() -> None:
        while os.getppid() == parent:  # a process whose parent has ended gets another parent at once
            time.sleep(INTERVAL)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def main() -> None:
    """Run a module until the parent has ended, as the first lines of this file say."""
    parent, module = sys.argv[1:3]
    end_with(int(parent))
    del sys.argv[:2]  # the module finds its name and its arguments there
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # this package
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
