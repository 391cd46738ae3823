"""Run a command of this package with a Python that has what it needs: start.py SCRIPT COMMAND MODULE... -- ARGUMENT...

Each script that a user types runs this file. SCRIPT is that script, COMMAND its module in this package, and each MODULE
is a package that the command needs. Any Python 3 must be able to run this file, so it uses no newer syntax or methods.
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
    """Return the help of a script: the comment or the docstring at its top."""
    with open(script, encoding="utf-8") as file:
        lines = file.read().splitlines()[1:]
    if lines[0].startswith('"""'):
        return "\n".join(lines).split('"""')[1]
    header = []
    for line in lines:
        if not line.startswith("#"):
            break
        header.append(line[2:])
    return "\n".join(header) + "\n"


def find_python(modules):
    """Return if this Python is new enough and has the modules. If not, start the Python of .venv in its place.

    Exit with one line if there is no .venv, or if its Python does not have the modules either.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if sys.version_info >= (3, 11) and not missing:
        return
    python = os.path.join(VENV, "bin", "python3")
    if os.path.exists(python) and os.path.realpath(sys.prefix) != os.path.realpath(VENV):
        os.execv(python, [python] + sys.argv)
    what = " ".join(missing) or "Python 3.11 or later"
    sys.exit("not installed: " + what + "; run make install, or activate the environment that has it")


def start(script, command, modules, arguments=None):
    """Run a command. Print the help of the script if the arguments ask for it, even if modules are missing.

    Args:
        script: the path of the script that the user typed.
        command: the module with the command's main(), such as "evaluation.report".
        modules: the names of the packages that it needs.
        arguments: what the user typed behind the script; by default what is in sys.argv.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ^C ends the start silently; the command has its own handler
    if "-h" in arguments or "--help" in arguments:
        sys.stdout.write(header_of(script))
        sys.exit()
    find_python(modules)
    sys.argv = [os.path.basename(script)] + arguments
    sys.path[0] = SCRIPTS
    sys.path.append(ROOT)
    from recipes import cli

    cli.run(importlib.import_module("recipes." + command).main)


if __name__ == "__main__":
    cut = sys.argv.index("--")
    start(sys.argv[1], sys.argv[2], sys.argv[3:cut], sys.argv[cut + 1 :])
