"""A command as an entry point: command_line.run("support.script_entry", MODULE, ARGUMENT...)."""

import importlib
import sys


def cli_main() -> None:
    _, name, *arguments = sys.argv
    importlib.import_module("recipes.cli").run(importlib.import_module(name).main, name, arguments)
