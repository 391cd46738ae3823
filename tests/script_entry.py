"""A Python tool of scripts/ as an entry point for command_line: run("script_entry", NAME, ARGUMENT...)."""

import importlib
import sys
from pathlib import Path


def cli_main() -> None:
    del sys.argv[0]
    sys.path.append(str(Path(__file__).parents[1] / "scripts"))
    tool = importlib.import_module(sys.argv[0])
    importlib.import_module("arguments").run(tool.main)
