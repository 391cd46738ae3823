"""A server that imports fairseq once and forks a process for each call. All processes of a test session share one.

There are two stages. The first has imported fairseq's programs alone, which is all that such a program does before it
reads its arguments. The second is forked from it, and has imported the plugin and more. A client sends a request to the
socket of a stage. It gets the number of the new process, and its exit status when it ends. The server ends when the
last process of the tests that uses it has ended.

python -P -m support.fork_server FOLDER SOCKET SOCKET: a client starts this, with the listening sockets of both stages
"""

import functools
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from recipes.files import lock
from support.fork_end import end_after
from support.places import BENCHMARKS, ROOT, SCRIPTS
from support.waiting import HANG

PROGRAMS, ALL = STAGES = ("programs", "all")
PATHS = [str(path) for path in (ROOT, SCRIPTS, BENCHMARKS, ROOT / "tests")]
# fairseq's programs first: they set up the log. Adam imports torch._dynamo late, the tools for texts import sacremoses.
PRELOADED = {PROGRAMS: [f"fairseq_cli.{name}" for name in "train hydra_train preprocess generate interactive".split()]}
PRELOADED[PROGRAMS] += ["fairseq_cli.eval_lm", "torch._dynamo", "sacremoses"]
# What each process would import itself: a module that imports pytest, and the recipes that tests start.
PRELOADED[ALL] = ["support.quick_config", "rdrop_fairseq"]
PRELOADED[ALL] += ["support.command_line", "support.forked_training", "support.forked_study"]
PRELOADED[ALL] += ["recipes.evaluation.translation"]
NUMBER = struct.Struct("q")

# The clients


class Forked:
    """A process that a stage of the server forks, to run an entry point.

    Args:
        stage: PROGRAMS or ALL.
        entry: a module whose function ``cli_main`` is called, or MODULE:FUNCTION.
        argv: the arguments of the command line.
        out: the folder for the files ``stdout`` and ``stderr``.
        cwd: the working directory.
        env: what is added to the environment.
    """

    def __init__(self, stage: str, entry: str, argv: list[str], out: Path, cwd: Path, env: dict[str, str]) -> None:
        self.exitcode: int | None = None
        request = {"entry": entry, "argv": argv, "out": str(out), "cwd": str(cwd), "env": env}
        self._socket = _connected(server() / stage, request)
        self.pid = self._number()

    def _number(self) -> int:
        if not (received := self._socket.recv(NUMBER.size, socket.MSG_WAITALL)):
            raise RuntimeError(f"the fork server has ended: {(server() / 'log').read_text()}")
        return NUMBER.unpack(received)[0]

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended, at most `timeout` seconds."""
        if self.exitcode is not None:
            return
        self._socket.settimeout(timeout)
        with suppress(TimeoutError, BlockingIOError):
            self.exitcode = self._number()
            self._socket.close()

    def is_alive(self) -> bool:
        """Return whether the process has not ended."""
        self.join(0)
        return self.exitcode is None

    def terminate(self) -> None:
        """Send the process SIGTERM unless it has ended."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process unless it has ended."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.is_alive():
            os.kill(self.pid, number)


_kept: list[object] = []  # while this process lives: its connection, and the server if this process has started it


@functools.cache
def server() -> Path:
    """Return the folder with the sockets of the server; start it if no other process of the session has done so."""
    folder = Path(tempfile.gettempdir(), f"forks-of-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}")
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):  # a server that ends has removed the folder meanwhile
            held = lock(folder / "lock", HANG)
            try:
                _joined(folder) or _start(folder)
            finally:
                if held is not None:
                    os.close(held)
            return folder


def _connected(address: Path, request: dict[str, object]) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(address))
    connection.sendall(json.dumps(request).encode() + b"\n")
    return connection


def _joined(folder: Path) -> bool:
    """Connect this process with the server, which lives as long as one is connected. Return whether it answers."""
    with suppress(OSError):
        _kept.append(_connected(folder / PROGRAMS, {}))
        return bool(_kept[-1].recv(1))
    return False


def _start(folder: Path) -> None:
    listeners = []
    for stage in STAGES:
        (folder / stage).unlink(missing_ok=True)
        listeners.append(socket.socket(socket.AF_UNIX))
        listeners[-1].bind(str(folder / stage))
        listeners[-1].listen(socket.SOMAXCONN)
    session = _connected(folder / PROGRAMS, {})  # before the server starts, so that it ends if this process is killed
    numbers = [listener.fileno() for listener in listeners]
    path = os.pathsep.join([*PATHS, *filter(None, [os.environ.get("PYTHONPATH")])])
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "support.fork_server", str(folder), *map(str, numbers)],
            env={**os.environ, "PYTHONPATH": path},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=numbers,
        )
    for listener in listeners:
        listener.close()
    _kept.extend((session, process))


# The server


class Stage:
    """One of the two processes of the server."""

    def __init__(self, name: str, listener: socket.socket, other: socket.socket) -> None:
        self.name = name
        self.listener = listener
        self.other = other  # connected with the other stage
        self.sessions: set[socket.socket] = set()
        self.running: dict[int, socket.socket] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self.accept)
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(wake, selectors.EVENT_READ, lambda: self.reap(wake))
        for module in PRELOADED[name]:
            importlib.import_module(module)

    def serve(self) -> None:
        """Take requests until the last session has ended."""
        gc.freeze()  # to go through fairseq's objects for garbage would take longer than most of the processes do
        gc.set_threshold(50_000)
        for key, _ in self.selector.select():
            key.data()
        while self.sessions:
            for key, _ in self.selector.select():
                key.data()

    def accept(self) -> None:
        """Take a request: to note a session, or to fork a process."""
        connection, _ = self.listener.accept()
        with connection.makefile("rb") as lines:
            request = json.loads(lines.readline() or "null")
        with suppress(OSError):
            if request == {}:
                self.join(connection)
                connection.sendall(b"y")
            elif request:
                if not (pid := os.fork()):
                    self.become(connection, **request)
                self.running[pid] = connection
                connection.sendall(NUMBER.pack(pid))

    def join(self, session: socket.socket) -> None:
        """Note a connection that says nothing until it is closed."""
        self.sessions.add(session)
        self.selector.register(session, selectors.EVENT_READ, lambda: self.leave(session))

    def leave(self, session: socket.socket) -> None:
        """Forget a session that has ended."""
        self.selector.unregister(session)
        self.sessions.remove(session)
        session.close()

    def reap(self, wake: int) -> None:
        """Tell the clients the exit status of the processes that have ended."""
        os.read(wake, 1 << 10)
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                with suppress(KeyError, OSError), self.running.pop(found[0]) as connection:
                    connection.sendall(NUMBER.pack(os.waitstatus_to_exitcode(found[1])))

    def become(self, connection: socket.socket, **request: object) -> NoReturn:
        """Run an entry point in this process, and end it."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.selector.close()
        for each in (self.listener, self.other, connection, *self.sessions, *self.running.values()):
            each.close()
        end_after(self.enter, **request)

    def enter(self, entry: str, argv: list[str], out: str, cwd: str, env: dict[str, str]) -> None:
        """Call an entry point as a program would."""
        for stream in ("stdout", "stderr"):
            os.dup2(os.open(Path(out, stream), os.O_WRONLY | os.O_CREAT), getattr(sys, stream).fileno())
        os.chdir(cwd)
        del os.environ["PYTHONPATH"]  # that of the server
        os.environ.update(env)
        sys.modules["torch"].set_num_threads(1)
        keep_parallel_models()
        sys.argv = [entry.replace("_cli.", "-"), *argv]
        if self.name == PROGRAMS:
            # A program as a user starts it does not find the tests' modules, which the server has on its path.
            sys.path[:] = [path for path in sys.path if path not in PATHS]
        else:
            sys.modules["support.quick_config"].install()
        module, _, function = entry.partition(":")
        getattr(importlib.import_module(module), function or "cli_main")()


def keep_parallel_models() -> None:
    """Keep each DistributedDataParallel until this process ends.

    Its destructor holds the GIL while it waits for the thread of gloo, which may wait for the GIL: so a program that
    has done its work could hang at its end.
    """
    parallel: Any = sys.modules["torch"].nn.parallel.DistributedDataParallel
    make, kept = parallel.__init__, []

    def init(self: object, *args: object, **options: object) -> None:
        kept.append(self)
        make(self, *args, **options)

    parallel.__init__ = init


def main() -> None:
    folder, *numbers = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM):  # it ends after the tests, and removes its folder
        signal.signal(number, signal.SIG_IGN)
    listeners = dict(zip(STAGES, (socket.socket(fileno=int(number)) for number in numbers), strict=True))
    ours, others = socket.socketpair()
    first = Stage(PROGRAMS, listeners[PROGRAMS], ours)
    if not os.fork():
        for each in (listeners[PROGRAMS], ours, first.selector):
            each.close()
        second = Stage(ALL, listeners[ALL], others)
        second.join(others)
        return second.serve()
    others.close()
    listeners[ALL].close()
    first.serve()
    held = lock(Path(folder, "lock"), HANG)
    shutil.rmtree(folder)
    if held is not None:
        os.close(held)


if __name__ == "__main__":
    main()
