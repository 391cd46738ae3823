"""How the tests of the prepare scripts run them: to the end, refused with one line, and up to a moment."""

import io
import os
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from support.places import SCRIPTS
from support.waiting import HANG, wait_until

BIN = Path(sys.executable).parent


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **more}


def command(script: str, *options: object, scripts: Path = SCRIPTS, plain: bool = False) -> list[str]:
    """Return the command of a prepare script, with few merges and two workers where the options do not say.

    Args:
        plain: only the options given.
    """
    own = [] if plain else ["--bpe", "40", "--workers", "2"]
    return [str(scripts / script), *own, *map(str, options)]


def run(
    script: str, *options: object, scripts: Path = SCRIPTS, plain: bool = False, **env: str
) -> subprocess.CompletedProcess[str]:
    arguments = command(script, *options, scripts=scripts, plain=plain)
    return subprocess.run(arguments, capture_output=True, text=True, env=environment(**env), timeout=HANG)


def prepared(script: str, *options: object, scripts: Path = SCRIPTS, plain: bool = False, **env: str) -> str:
    """Run, check that it succeeds without a word on stderr, and return what it printed."""
    result = run(script, *options, scripts=scripts, plain=plain, **env)
    assert (result.returncode, result.stderr) == (0, ""), result
    return result.stdout


def refused(
    script: str,
    *options: object,
    scripts: Path = SCRIPTS,
    plain: bool = False,
    limit: int | None = None,
    **env: str,
) -> str:
    """Run, check that it fails with one line on stderr, and return that line.

    Args:
        limit: size in KiB that no file may outgrow: it stands in for a disk that is full.
    """
    arguments = command(script, *options, scripts=scripts, plain=plain)
    if limit is not None:
        arguments = ["bash", "-c", f'ulimit -f {limit} && exec "$@"', "bash", *arguments]
    result = subprocess.run(arguments, capture_output=True, text=True, env=environment(**env), timeout=HANG)
    assert result.returncode != 0, result.stdout
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def content(out: Path) -> dict[str, bytes]:
    """Return every file below a folder with its bytes."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def lines(file: Path) -> list[str]:
    """Return the lines of a text, which end at newlines alone."""
    return file.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def pack(archive: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write an archive, .tgz or .tar, that holds the files."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz" if archive.suffix == ".tgz" else "w") as tar:
        for name, text in files.items():
            data = text.encode() if isinstance(text, str) else text
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return archive


def stub_fairseq(folder: Path, preprocess: str = "raise SystemExit\n") -> str:
    """Return a PYTHONPATH on which fairseq-preprocess is the code given: by default nothing, in no time.

    The code ends the process: what comes after is the check of what fairseq has written.
    """
    package = folder / "stub" / "fairseq_cli"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "preprocess.py").write_text(preprocess)
    return str(package.parent)


def started(arguments: list[str], env: dict[str, str], moment: Callable[[], bool]) -> subprocess.Popen[str]:
    """Start a run in a process group of its own, to which ^C gets through, and return at the moment."""
    process = subprocess.Popen(
        arguments,
        env=env,
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Where the tests run in the background, ^C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(moment, lambda: process.poll() is None)
    return process


def at_work(out: Path, folder: str = "*") -> bool:
    """Whether a run has begun to make the folder, or a file in one."""
    return any(out.glob(f".part.*/{folder}"))


def interrupted(arguments: list[str], env: dict[str, str], moment: Callable[[], bool]) -> None:
    """Send ^C to a run at the moment, and check that it ends with one line and leaves no process behind."""
    process = started(arguments, env, moment)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 130, (process.returncode, stdout, stderr)
    assert stderr == f"{Path(arguments[0]).name}: interrupted; run it again to go on\n"
    wait_until(lambda: is_gone(process.pid))


def is_gone(group: int) -> bool:
    """Whether no process of the group lives; nobody may have waited for it yet."""
    listed = subprocess.run(["ps", "-e", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return not any(re.match(rf" *{group} +[^Z]", row) for row in listed.splitlines())
