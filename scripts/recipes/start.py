"""Run a command of this package with a Python that has what it needs: start.py SCRIPT COMMAND MODULE... -- ARGUMENT...

Each script that a user types runs this file. SCRIPT is that script, COMMAND its module in this package, and each MODULE
is a package that the command needs. Any Python 3 must be able to run this file, so it uses no newer syntax or methods.
"""

import importlib
import os
import signal
import sys
from importlib.util import find_spec
from itertools import takewhile

SCRIPTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(SCRIPTS)
VENV = os.path.join(ROOT, ".venv")


def header_of(script):
    """Return the help of a script: the comment or the docstring at its top."""
    with open(script, encoding="utf-8") as file:
        text = file.read().split("\n", 1)[1]
    if text.startswith('"""'):
        return text.split('"""')[1]
    return "".join(line[2:] + "\n" for line in takewhile(lambda line: line.startswith("#"), text.splitlines()))


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

    The arguments are those above, such as "evaluation.report" for the command. Without `arguments`, sys.argv has them.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ^C ends the start silently, until the command takes signals
    if "-h" in arguments or "--help" in arguments:
        sys.stdout.write(header_of(script))
        sys.exit()
    find_python(modules)
    sys.path[0] = SCRIPTS
    sys.path.append(ROOT)
    from recipes import cli

    def main(given):
        importlib.import_module("recipes." + command).main(given)

    cli.run(main, os.path.basename(script), arguments)


if __name__ == "__main__":
    cut = sys.argv.index("--")
    start(sys.argv[1], sys.argv[2], sys.argv[3:cut], sys.argv[cut + 1 :])
