"""A command as an entry point: command_line.run("support.script_entry", MODULE, ARGUMENT...)."""

import importlib
import sys

from support.places import BENCHMARKS, SCRIPTS


def cli_main() -> None:
    del sys.argv[0]
    # The fork runs without pytest, whose setting pythonpath does this elsewhere.
    sys.path += [str(SCRIPTS), str(BENCHMARKS)]
    tool = importlib.import_module(sys.argv[0])
    importlib.import_module("recipes.cli").run(tool.main)
