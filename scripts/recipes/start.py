"""Run a command of this package with a Python that has what it needs: start.py SCRIPT COMMAND MODULE... -- ARGUMENT...

The scripts that a user types come here: SCRIPT is the one that was typed, COMMAND its module in this package, and each
MODULE a package that it needs. Only what any Python 3 understands may stand in this file.
"""

import importlib
import os
import signal
import sys
from importlib.util import find_spec

SCRIPTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(SCRIPTS)
VENV = os.path.join(ROOT, ".venv")


def header_of(script):
    """Return the comment or the docstring that opens a script: its help."""
    with open(script, encoding="utf-8") as file:
        lines = file.read().splitlines()[1:]
    if lines[0].startswith('"""'):
        return "\n".join(lines).split('"""')[1]
    header = []
    for line in lines:
        if not line.startswith("#"):
            break
        header.append(line[1:].removeprefix(" "))
    return "\n".join(header) + "\n"


def find_python(modules):
    """Let the Python of the repository's .venv take over where this one is too old or lacks a module.

    Exit with one line where no Python has them.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if sys.version_info >= (3, 11) and not missing:
        return
    python = os.path.join(VENV, "bin", "python3")
    if os.path.exists(python) and os.path.realpath(sys.prefix) != os.path.realpath(VENV):
        os.execv(python, [python, *sys.argv])
    what = " ".join(missing) or "Python 3.11 or later"
    sys.exit("not installed: " + what + "; run make install, or activate the environment that has it")


def start(script, command, modules, arguments=None):
    """Run a command with the arguments, by default those that were typed."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Until the command has handlers of its own, ^C ends it silently and not with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if "-h" in arguments or "--help" in arguments:
        sys.stdout.write(header_of(script))
        sys.exit()
    find_python(modules)
    sys.argv = [os.path.basename(script), *arguments]
    sys.path[0] = SCRIPTS
    sys.path.append(ROOT)
    from recipes import cli

    cli.run(importlib.import_module("recipes." + command).main)


if __name__ == "__main__":
    cut = sys.argv.index("--")
    start(sys.argv[1], sys.argv[2], sys.argv[3:cut], sys.argv[cut + 1 :])
