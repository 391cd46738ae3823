"""How the tests run the prepare scripts: in this process or as a shell would, to the end, refused, up to a moment."""

import importlib
import io
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from recipes import cli
from recipes.data import sentences, translation, wikitext
from support.places import BIN, SCRIPTS
from support.preprocess import fairseq_in_a_fork
from support.waiting import HANG, wait_until

WITHOUT_BPE = tuple(f"prepare_{name}.sh" for name in "demo wikitext2 wikitext103 sentiment_zh clue csl".split())


@dataclass
class Result:
    """How a run ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def words(script: str, options: tuple[object, ...], plain: bool) -> list[str]:
    """Return the arguments of a script: with few merges and two workers if the options do not say, or `plain`."""
    own = [] if plain else ["--workers", "2"] + ([] if script in WITHOUT_BPE else ["--bpe", "40"])
    return [*own, *map(str, options)]


def main_of(script: str) -> Callable[[list[str]], None]:
    """Return the main function of a script, with the arguments that its last line puts first."""
    found = re.search(r'/start\.sh" (\S+) .*-- (.*)"\$@"', (SCRIPTS / script).read_text(encoding="utf-8"))
    assert found, script
    main = importlib.import_module(f"recipes.{found[1]}").main
    return lambda arguments: main([*found[2].split(), *arguments])


def run(script: str, *options: object, plain: bool = False, fairseq: bool = False, limit: int | None = None) -> Result:
    """Run a script's main function in this process, as `cli.run` does.

    Args:
        plain: give it only the options given.
        fairseq: whether the last step runs fairseq-preprocess. Without that it makes an empty folder in no time.
        limit: size in KiB that no file may outgrow. It stands in for a full disk.
    """
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    status = 0
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, "unraisablehook", sys.unraisablehook))  # which `cli.run` sets
        if not fairseq:
            for module in (sentences, translation, wikitext):
                stack.enter_context(mock.patch.object(module, "binarize"))
        stack.enter_context(redirect_stdout(stdout))
        stack.enter_context(redirect_stderr(stderr))
        if limit is not None:
            stack.enter_context(_no_file_above(limit))
        try:
            cli.run(main_of(script), script, words(script, options, plain))
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
    texts = [stream.buffer.getvalue().decode() for stream in (stdout, stderr)]  # type: ignore[attr-defined]
    return Result(status, *texts)


@contextmanager
def _no_file_above(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def prepared(script: str, *options: object, plain: bool = False, fairseq: bool = False) -> str:
    """Run, check that it succeeds without a word on stderr, and return what it printed; fairseq runs in a fork."""
    with fairseq_in_a_fork():
        result = run(script, *options, plain=plain, fairseq=fairseq)
    assert (result.returncode, result.stderr) == (0, ""), result
    return result.stdout


def refused(script: str, *options: object, plain: bool = False, fairseq: bool = False, limit: int | None = None) -> str:
    """Run, check that it fails with one line on stderr, and return that line."""
    result = run(script, *options, plain=plain, fairseq=fairseq, limit=limit)
    assert result.returncode != 0, result.stdout
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


# As a shell would


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", **more}


def command(script: str, *options: object, plain: bool = False, scripts: Path = SCRIPTS) -> list[str]:
    """Return the command that runs a script, with the arguments that `run` gives it."""
    return [str(scripts / script), *words(script, options, plain)]


def typed(arguments: list[str], cwd: Path | None = None, **env: str) -> Result:
    """Run a command to its end."""
    done = subprocess.run(
        arguments, cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=HANG, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


def prepared_by_script(script: str, *options: object, **env: str) -> str:
    """Run the script itself, check that it succeeds without a word on stderr, and return what it printed."""
    result = typed(command(script, *options), **env)
    assert (result.returncode, result.stderr) == (0, ""), result
    return result.stdout


def started(arguments: list[str], moment: Callable[[], bool]) -> subprocess.Popen[str]:
    """Start a run in a process group of its own, to which ^C gets through, and return at the moment."""
    process = subprocess.Popen(
        arguments,
        env=environment(),
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(moment, lambda: process.poll() is None)
    return process


def at_work(out: Path, folder: str = "*") -> bool:
    """Return whether a run has begun to make the folder, or a file in one."""
    return any(out.glob(f".*.part/{folder}"))


def interrupted(arguments: list[str], moment: Callable[[], bool]) -> None:
    """Send ^C to a run at the moment, and check that it ends with one line and leaves no process behind."""
    process = started(arguments, moment)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 130, (process.returncode, stdout, stderr)
    assert stderr == f"{Path(arguments[0]).name}: interrupted; run it again to go on\n", stderr
    wait_until(lambda: is_gone(process.pid))


def is_gone(session: int) -> bool:
    """Return whether no process of the session lives. Nobody may have waited for it yet."""
    listed = subprocess.run(["ps", "-e", "-o", "sess=,stat="], capture_output=True, text=True, check=True).stdout
    return not any(re.match(rf" *{session} +[^Z]", row) for row in listed.splitlines())


# Results


def content(out: Path) -> dict[str, bytes]:
    """Return every file below a folder with its bytes."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def state(out: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file below a folder with its bytes and the time at which it was written."""
    return {name: (data, (out / name).stat().st_mtime_ns) for name, data in content(out).items()}


def lines(file: Path) -> list[str]:
    """Return the lines of a text, which end at newlines alone."""
    return file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
