"""study.sh as an entry point of command_line. The scripts that it starts are forks of its process; see forked_training.

All else is as in study.sh: the runs at work, their ends, signals.
"""

import gc
import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from recipes import children, cli
from recipes.studies import at_once, command
from support import forked_training


class Script(forked_training.Fork):
    """What at_once.py uses of subprocess.Popen, for the command that children.command gives to run a script."""

    def __init__(self, words, env, stdin, stdout, stderr):
        assert stdin == stdout == subprocess.DEVNULL
        super().__init__(env, self.run, words, stderr.fileno())

    def run(self, words, stderr):
        """Run a module of recipes as its script does."""
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream, file in enumerate((nothing, nothing, stderr)):
            os.dup2(file, stream)
        _python, _, _, parent, module, script, name, *rest = words
        assert module == "recipes.start"
        children.end_with(int(parent))
        arguments = rest[rest.index("--") + 1 :]
        if name == "training.launch":
            forked_training.train(arguments)
        else:
            cli.run(importlib.import_module(f"recipes.{name}").main, Path(script).name, arguments)


def cli_main():
    gc.freeze()
    needed = {name: getattr(subprocess, name) for name in ("DEVNULL", "TimeoutExpired")}
    at_once.subprocess = SimpleNamespace(Popen=Script, **needed)
    cli.run(command.main, "study.sh", sys.argv[1:])
