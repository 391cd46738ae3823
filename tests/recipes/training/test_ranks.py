"""Start, watch and end fairseq's processes: programs stand in for them that print and end as fairseq would."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from recipes.training import ranks
from recipes.training.batch import Batch
from recipes.training.job import Job

BATCH = Batch(2, [1], "dataset.max_tokens", 4096, 4096)
TWO = Job(2, 2)
HEAD = """
import logging, os, resource, signal, sys, time
rank = int(os.environ.get("RANK", 0))
def other_waits():
    if rank == 0:
        time.sleep(100)
"""
TRAINS = "print('[INFO] - training on 2 devices (GPUs/TPUs)', flush=True)\n"
TOO_LARGE = (
    "out of memory with dataset.max_tokens=4096: add dataset.max_tokens=2048 to the command; update_freq then rises by "
    "itself, so that the batch of an update stays"
)


def watched(
    program: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    job: Job = TWO,
    log_file: Path | None = None,
    at_once: bool = False,
) -> str:
    """Return what is found wrong with a job of this program; afterwards no process of it lives.

    Args:
        at_once: whether to look only when all processes have ended.
    """
    (folder / "program.py").write_text(HEAD + program)
    monkeypatch.setattr(ranks, "MODULE", "program")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    log = ranks.Log(log_file or folder / "log")
    started: list[ranks.Rank] = []
    try:
        started.extend(ranks.start(job, ["an argument"], log, []))
        if at_once:
            for rank in started:
                rank.process.wait()
        problem = ranks.watch(started, job, BATCH, log)
    finally:
        ranks.end(started)
        log.close()
    assert all(rank.process.poll() is not None for rank in started)
    return problem


@pytest.mark.parametrize(
    "program, problem",
    [
        (TRAINS, ""),
        (TRAINS + "other_waits(); raise ValueError('too long')", "rank 1 of 2: ValueError: too long"),
        (TRAINS + "other_waits(); sys.exit('error: --rdrop-alpha -1')", "rank 1 of 2: error: --rdrop-alpha -1"),
        (TRAINS + "other_waits(); sys.exit(3)", "rank 1 of 2: exit status 3"),
        # The one that was killed is to blame, not the one that failed because its partner was gone.
        (
            TRAINS
            + "rank or sys.exit('RuntimeError: Connection closed by peer'); os.kill(os.getpid(), signal.SIGKILL)",
            "rank 1 of 2: killed by SIGKILL",
        ),
        (
            "other_waits() if rank else print('training on 1 devices', flush=True)",
            "fairseq trains on 1 processes instead of 2",
        ),
        ("print('nothing to do')", "fairseq ended without training"),
        (TRAINS + "other_waits(); raise RuntimeError('CUDA out of memory. Tried to allocate 2 GiB')", TOO_LARGE),
        (
            TRAINS + "print('attempting to recover from OOM in forward/backward pass', flush=True); time.sleep(100)",
            TOO_LARGE,
        ),
        (TRAINS + "other_waits(); raise RuntimeError('a batch does not fit into memory')", TOO_LARGE),
    ],
)
def test_what_is_wrong_is_found_and_all_processes_end(program, problem, tmp_path, monkeypatch):
    assert watched(program, tmp_path, monkeypatch) == problem


def test_a_process_that_does_not_end_when_told_to_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "PATIENCE", 0.5)
    program = TRAINS + "signal.signal(signal.SIGTERM, signal.SIG_IGN); other_waits(); time.sleep(1); sys.exit(1)"
    assert watched(program, tmp_path, monkeypatch) == "rank 1 of 2: exit status 1"


def test_of_processes_that_failed_at_once_the_killed_one_is_named(tmp_path, monkeypatch):
    program = (
        TRAINS + "rank or sys.exit('RuntimeError: Connection closed by peer'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert watched(program, tmp_path, monkeypatch, at_once=True) == "rank 1 of 2: killed by SIGKILL"


def test_a_pause_of_all_processes_is_noted_in_the_log(tmp_path, monkeypatch):
    """Slow output is none: the training goes on meanwhile."""
    now, sleeps = 0.0, iter([0.05, 1980.0, ranks.PAUSE - 1])

    def go_on(seconds: float) -> None:
        nonlocal now
        now += seconds

    def sleep(_: float) -> None:
        go_on(next(sleeps, 0.05))

    monkeypatch.setattr(ranks, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: now))
    log = ranks.Log(tmp_path / "log")
    monkeypatch.setattr(log, "follow", lambda: go_on(100.0))
    looks = iter([False] * 4)
    rank = SimpleNamespace(has_ended=lambda: next(looks, True), process=SimpleNamespace(returncode=0))
    log.devices = 1
    assert ranks.watch([rank], Job(1), BATCH, log) == ""
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert ranks.PAUSED.search(line)[1] == "1980.0"
    log.close()


FULL = "its output cannot be written: [Errno 28] No space left on device"
LOGS = "logging.basicConfig(level=20, stream=sys.stdout); [logging.info('one') for _ in range(9)]; time.sleep(100)"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("program", [LOGS, "sys.stderr.write('one\\n'); time.sleep(100)"])
def test_a_full_disk_under_the_log_ends_the_job(program, tmp_path, monkeypatch):
    assert watched(program, tmp_path, monkeypatch, Job(1), log_file=Path("/dev/full")) == FULL


def test_a_process_that_alone_cannot_write_the_log_ends_the_job(tmp_path, monkeypatch):
    """As if the disk were full for its line, and had room again for what says so."""
    program = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (2, 2))\n"
    problem = watched(program + LOGS, tmp_path, monkeypatch, Job(1))
    assert problem == "its output cannot be written: [Errno 27] File too large"
    assert "--- Logging error ---" in (tmp_path / "log").read_text()


def test_a_line_that_is_logged_wrongly_does_not_end_the_job(tmp_path, monkeypatch):
    program = TRAINS + "logging.basicConfig(level=logging.INFO, stream=sys.stdout); logging.info('%d', 'one')"
    assert watched(program, tmp_path, monkeypatch) == ""
    assert "--- Logging error ---" in (tmp_path / "log").read_text()


def test_output_that_nobody_reads_ends_the_job(tmp_path, monkeypatch):
    class Closed:
        buffer = property(lambda self: self)

        def write(self, _):
            raise BrokenPipeError(32, "Broken pipe")

        def flush(self):
            pass

    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", Closed())
        problem = watched(TRAINS + "time.sleep(100)", tmp_path, monkeypatch, Job(1))
    assert problem == "its output cannot be printed: [Errno 32] Broken pipe"


def test_each_process_is_told_its_place_and_the_log_has_what_all_print(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # with it, print writes a line in pieces
    (tmp_path / "log").write_text("of an earlier start\n")
    program = TRAINS.replace("2", "8") + (
        "print(rank, os.environ['WORLD_SIZE'], os.environ['LOCAL_RANK'], sys.argv[1:])\n"
        "print('warning', rank, file=sys.stderr, flush=True); print('no end', end='')"
    )
    assert watched(program, tmp_path, monkeypatch, Job(8, 2, 4, 0, 4, "localhost:1")) == ""
    text = (tmp_path / "log").read_text()
    lines = text.replace("no end", "").splitlines()
    assert sorted(line for line in lines if "argument" in line) == ["4 8 0 ['an argument']", "5 8 1 ['an argument']"]
    assert {"warning 4", "warning 5"} <= set(lines) and len(lines) == 7
    printed = capfdbinary.readouterr().out
    assert "of an earlier start\n" + printed.decode() == text


def test_processes_share_the_cores_on_which_this_one_may_run(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert watched(TRAINS + "print('threads', os.environ['OMP_NUM_THREADS'])", tmp_path, monkeypatch) == ""
    assert capfdbinary.readouterr().out.count(b"threads 3\n") == 2


@pytest.mark.parametrize(
    "lines, devices, skipped, loading",
    [
        ([], None, False, False),
        (["[INFO] - training on 4 devices (GPUs/TPUs)"], 4, False, False),
        (["Preparing to load checkpoint a.pt"], None, False, True),
        (["Preparing to load checkpoint a.pt", "Loaded checkpoint a.pt (epoch 1 @ 5 updates)"], None, False, False),
        (["Preparing to load checkpoint a.pt", "No existing checkpoint found a.pt"], None, False, False),
        (["attempting to recover from OOM in forward/backward pass"], None, True, False),
    ],
)
def test_what_the_log_says_is_noted(lines, devices, skipped, loading, tmp_path):
    log = ranks.Log(tmp_path / "log")
    for line in lines:
        log.file.write(f"{line}\n".encode())
    log.follow()
    assert (log.devices, log.skipped_batch, log.loading) == (devices, skipped, loading)
    log.close()
