"""train.sh as an entry point of command_line. Its ranks are forks of its process, which has imported fairseq already.

To import fairseq takes much longer than to train on a toy. All else is as in train.sh: processes, output, signals.
"""

import gc
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path
from types import SimpleNamespace

from recipes import children, cli
from recipes.training import launch, ranks

PATCH = "TEST_PATCH"  # of the environment: a file of Python that the process, and so each rank, runs first


class Forked:
    """What ranks.py uses of subprocess.Popen, for the command that children.command gives."""

    def __init__(self, command, cwd, env, stdin, stdout, stderr, pass_fds):
        assert (stdin, stderr) == (subprocess.DEVNULL, subprocess.PIPE)
        self.returncode = None
        sys.stdout.flush()
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a fork beside threads
            self.pid = os.fork()
        if self.pid:
            os.close(write)
            self.stderr = os.fdopen(read, "rb")
            return
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        for stream, file in enumerate((os.open(os.devnull, os.O_RDONLY), stdout.fileno(), write)):
            os.dup2(file, stream)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        *_, parent, module = command[:5]
        run_rank(int(parent), module, command[5:])

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout=float("inf")):
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("a rank", timeout)
            time.sleep(0.01)

    def send(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send(signal.SIGTERM)

    def kill(self):
        self.send(signal.SIGKILL)


def run_rank(parent, module, arguments):
    """Run a module of fairseq_cli as a rank, and end the process as Python would."""
    status = 0
    try:
        children.end_with(parent)
        sys.argv = [module, *arguments]
        importlib.import_module(module).cli_main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if status and not isinstance(end.code, int):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def cli_main():
    sys.argv[0] = "train.sh"
    if PATCH in os.environ:
        exec(Path(os.environ[PATCH]).read_text(), {})
    gc.freeze()
    needed = {name: getattr(subprocess, name) for name in ("DEVNULL", "PIPE", "TimeoutExpired")}
    ranks.subprocess = SimpleNamespace(Popen=Forked, **needed)
    cli.run(launch.main)
