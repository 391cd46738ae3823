"""A command as an entry point: command_line.run("support.script_entry", MODULE, ARGUMENT...)."""

import importlib
import sys

from support.places import BENCHMARKS, SCRIPTS


def cli_main() -> None:
    # The fork runs without pytest, whose setting pythonpath does this elsewhere.
    sys.path += [str(SCRIPTS), str(BENCHMARKS)]
    _, name, *arguments = sys.argv
    importlib.import_module("recipes.cli").run(importlib.import_module(name).main, name, arguments)
