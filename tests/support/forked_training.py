"""train.sh as an entry point of command_line; torchrun, whose processes are forks here.

The ranks are forks of the process of train.sh, which has imported fairseq already. To import fairseq takes much longer
than to train on a toy. All else is as in train.sh: processes, output, signals.
"""

import gc
import importlib
import os
import runpy
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

from recipes import children, cli
from recipes.training import launch, ranks
from support.fork_end import end_after
from support.places import SCRIPTS
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

PATCH = "TEST_PATCH"  # of the environment: a file of Python that the process, and so each rank, runs first


class Fork:
    """What ranks.py and torchrun use of subprocess.Popen, for a fork that runs a function."""

    def __init__(self, env, function, *args):
        self.returncode = None
        sys.stdout.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a fork beside threads
            self.pid = os.fork()
        if not self.pid:
            for number in children.SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            os.environ.clear()
            os.environ.update(env)
            end_after(function, *args)

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

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Rank(Fork):
    """One of train.sh's processes, for the command that children.command gives."""

    def __init__(self, command, cwd, env, stdin, stdout, stderr, pass_fds):
        assert (stdin, stderr) == (subprocess.DEVNULL, subprocess.PIPE)
        read, write = os.pipe()
        super().__init__(env, self.run, command, cwd, stdout.fileno(), write)
        os.close(write)
        self.stderr = os.fdopen(read, "rb")

    def run(self, command, cwd, stdout, stderr):
        """Run a module of fairseq_cli."""
        for stream, file in enumerate((os.open(os.devnull, os.O_RDONLY), stdout, stderr)):
            os.dup2(file, stream)
        os.chdir(cwd)
        *_, parent, module = command[:5]
        children.end_with(int(parent))
        sys.argv = [module, *command[5:]]
        importlib.import_module(module).cli_main()


class Started(Fork):
    """One of torchrun's processes, which runs train.sh or a program in Python."""

    def __init__(self, args, env, stdout, stderr, start_new_session):
        assert (stdout, stderr, start_new_session) == (None, None, True)
        super().__init__(env, self.run, list(args))

    def run(self, argv):
        """Run what the command line names."""
        os.setsid()
        if argv[0] == str(SCRIPTS / "train.sh"):
            train(argv[1:])
        else:
            assert argv[:2] == [sys.executable, "-u"]
            sys.argv = argv[2:]
            runpy.run_path(argv[2], run_name="__main__")


def cli_main():
    train(sys.argv[1:])


def train(arguments):
    """Run train.sh."""
    if PATCH in os.environ:
        exec(Path(os.environ[PATCH]).read_text(), {})
    gc.freeze()
    needed = {name: getattr(subprocess, name) for name in ("DEVNULL", "PIPE", "TimeoutExpired")}
    ranks.subprocess = SimpleNamespace(Popen=Rank, **needed)
    cli.run(launch.main, "train.sh", arguments)


def torchrun_main():
    """Run torchrun with train.sh or a program in Python."""
    subprocess_handler.Popen = Started
    torchrun.main()
