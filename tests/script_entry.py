"""A Python tool of scripts/ or benchmarks/ as an entry point: command_line.run("script_entry", NAME, ARGUMENT...)."""

import importlib
import sys
from pathlib import Path


def cli_main() -> None:
    del sys.argv[0]
    sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("scripts", "benchmarks")]
    tool = importlib.import_module(sys.argv[0])
    importlib.import_module("arguments").run(tool.main)
