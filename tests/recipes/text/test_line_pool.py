"""recipes/text/line_pool.py: lines keep their order, few are held at a time, and no worker outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from recipes.text.line_pool import CHUNK_LINES, LinePool, map_files
from support.places import SCRIPTS
from support.waiting import HANG, wait_until

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SCRIPTS)}


@pytest.mark.parametrize(("workers", "number"), [(1, 5001), (3, 5001), (3, 2 * CHUNK_LINES), (3, CHUNK_LINES), (3, 0)])
def test_lines_keep_their_order_and_number(tmp_path: Path, workers: int, number: int) -> None:
    source = tmp_path / "text.en"
    lines = [f"line {i}\u2028\u0085{'x' * (i % 7)}" for i in range(number)]
    source.write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "out").mkdir()
    map_files(lambda: lambda part: [line[::-1] for line in part], [source], tmp_path / "out", workers)
    made = (tmp_path / "out" / "text.en").read_text(encoding="utf-8")
    assert made == "".join(f"{line[::-1]}\n" for line in lines)


def test_a_text_of_one_chunk_needs_no_worker(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("x\n" * CHUNK_LINES)
    (tmp_path / "long").write_text("x\n" * (CHUNK_LINES + 1))
    with LinePool(lambda: lambda lines: (len(lines), os.getpid()), 1) as pool:
        assert list(pool.results(tmp_path / "short", "")) == [(CHUNK_LINES, os.getpid())]
        (first, worker), (rest, _) = pool.results(tmp_path / "long", "")
    assert (first, rest) == (CHUNK_LINES, 1) and worker != os.getpid()


def test_only_a_few_chunks_are_read_ahead(tmp_path: Path) -> None:
    source = tmp_path / "text.en"
    source.write_text("x\n" * 40 * CHUNK_LINES)
    with LinePool(lambda: len, 1) as pool:
        results: Iterator[int] = pool.results(source, "")
        assert next(results) == CHUNK_LINES
        assert len(pool._pool._pending_work_items) <= 5
        assert sum(results) == 39 * CHUNK_LINES


def test_a_text_with_fewer_lines_than_its_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a\nb\n")
    (tmp_path / "out").mkdir()
    with pytest.raises(SystemExit, match="out/x: 1 lines made of the 2 of "):
        map_files(lambda: lambda lines: lines[1:], [tmp_path / "x"], tmp_path / "out", 1)


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


ENDLESS = """
import sys, time
from pathlib import Path
from recipes.text.line_pool import map_files
map_files(lambda: lambda lines: time.sleep(1000), [Path(sys.argv[1])], Path(sys.argv[2]), 2)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_a_killed_process_takes_its_workers_along(tmp_path: Path) -> None:
    source = tmp_path / "text.en"
    source.write_text("A dog.\n" * 3 * CHUNK_LINES)
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", ENDLESS, str(source), str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    wait_until(lambda: len(children(process.pid)) == 2, lambda: process.poll() is None)
    workers = children(process.pid)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(Path(f"/proc/{worker}/status").exists() for worker in workers))


FEW_PROCESSES = """
import errno, os, sys
fork, left = os.fork, [2]
def limited():
    left[0] -= 1
    if left[0] < 0:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return fork()
os.fork = limited
from recipes.text import line_pool
from pathlib import Path
line_pool.map_files(lambda: list, [Path("x")], Path("out"), 5)
"""


def test_fewer_processes_than_workers_end_in_one_line(tmp_path: Path) -> None:
    """As under `ulimit -u`: no worker is left for Python to wait for."""
    (tmp_path / "x").write_text("x\n" * 2 * CHUNK_LINES)
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", FEW_PROCESSES]
    result = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=HANG)
    message = "cannot start 5 processes: [Errno 11] Resource temporarily unavailable; give fewer with --workers\n"
    assert (result.returncode, result.stderr) == (1, message)


INTERRUPTED = """
import os, signal, time
from pathlib import Path
from recipes.text.line_pool import LinePool
os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGINT))
codes = Path("codes")
def factory():
    time.sleep(0.5)
    codes.read_text()
    return list
try:
    with LinePool(factory, 2) as pool:
        list(pool.results(Path("x"), "x"))
except KeyboardInterrupt:
    codes.unlink()
    print("interrupted")
"""


def test_workers_that_were_starting_at_an_interrupt_have_ended_when_the_pool_is_left(tmp_path: Path) -> None:
    """Else they would miss a file that is removed then, and print a traceback."""
    (tmp_path / "x").write_text("x\n" * 2 * CHUNK_LINES)
    (tmp_path / "codes").touch()
    command = [sys.executable, "-c", INTERRUPTED]
    result = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=HANG)
    assert (result.returncode, result.stdout, result.stderr) == (0, "interrupted\n", "")
