"""Processes that end when their parent does, however it ends, so that none writes on beside the next run.

children.py PARENT MODULE ARGUMENT...: run a Python module, as "python -m" does, until process PARENT has ended.

A shell script starts a tool so with the number of its own process as RDROP_PARENT in the environment, which tool.py
reads. That is $$ for the script; for a subshell of it, $BASHPID as it was before what follows is started.
"""

import os
import runpy
import sys
import threading
import time

INTERVAL = 0.5  # seconds between two looks at whether the parent lives
VARIABLE = "RDROP_PARENT"  # of the environment: the number of the parent that a process is to end with

_forking = 0  # the process that forks another one
_forks_are_watched = False


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a Python module as a child of this process, which ends when this process does."""
    return [sys.executable, __file__, str(os.getpid()), module, *arguments]


def end_with(parent: int) -> None:
    """Have this process, and each that is forked from it, end within seconds when its parent has ended."""
    global _forks_are_watched
    if not _forks_are_watched:
        os.register_at_fork(before=_note_forking, after_in_child=_watch_forked)
        _forks_are_watched = True
    _watch(parent)


def end_with_caller() -> None:
    """Do so if the environment names the parent; the processes that are started from here do not see that."""
    if parent := os.environ.pop(VARIABLE, ""):
        end_with(int(parent))


def _note_forking() -> None:
    global _forking
    _forking = os.getpid()


def _watch_forked() -> None:
    try:
        _watch(_forking)
    except RuntimeError:  # no more threads are allowed
        os._exit(1)


def _watch(parent: int) -> None:
    def follow() -> None:
        while os.getppid() == parent:  # a process whose parent has ended gets another one at once
            time.sleep(INTERVAL)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def main() -> None:
    _, parent, module, *arguments = sys.argv
    end_with(int(parent))
    sys.argv = [module, *arguments]
    sys.path[0] = os.getcwd()
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
