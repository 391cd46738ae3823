"""scripts/train.sh with several processes, as scripts/launch.py starts, watches and ends them."""

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
from recipes.evaluation import report
from recipes.training import launch
from recipes.training.job import Batch, Job
from support import command_line, learned_run, toy_run
from support.toy_run import SCRIPTS, refused, run
from support.waiting import HANG, is_gone, wait_until

# Programs that print and end as fairseq would

BATCH = Batch(2, [1], "dataset.max_tokens", 4096, 4096)
TWO = Job(2, 2)
HEAD = """
import os, signal, sys, time
rank = int(os.environ.get("RANK", 0))
def other_waits():
    if rank == 0:
        time.sleep(100)
"""
TRAINS = "print('[INFO] - training on 2 devices (GPUs/TPUs)')\n"


def watched(
    program: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    job: Job = TWO,
    log_file: Path | None = None,
    at_once: bool = False,
) -> str:
    """What is found wrong with a job of this program; afterwards no process of it lives.

    ``at_once``: it is looked for only when all processes have ended.
    """
    (folder / "program.py").write_text(HEAD + program)
    monkeypatch.setattr(launch, "MODULE", "program")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with (log_file or folder / "log").open("wb", buffering=0) as log:
        ranks = list(launch.start(job, ["an argument"], log, []))
        try:
            if at_once:
                for rank in ranks:
                    rank.reader.join()
            problem = launch.watch(ranks, job, BATCH)
        finally:
            launch.end(ranks)
    assert all(rank.process.poll() is not None for rank in ranks)
    return problem


@pytest.mark.parametrize(
    "program, problem",
    [
        (TRAINS, ""),
        (TRAINS + "other_waits(); raise ValueError('too long')", "rank 1 of 2: ValueError: too long"),
        (TRAINS + "other_waits(); sys.exit('error: --rdrop-alpha -1')", "rank 1 of 2: error: --rdrop-alpha -1"),
        (TRAINS + "other_waits(); sys.exit(3)", "rank 1 of 2: exit status 3"),
        # The one that was killed is to blame, not the one that failed for want of it.
        (
            TRAINS
            + "rank or sys.exit('RuntimeError: Connection closed by peer'); os.kill(os.getpid(), signal.SIGKILL)",
            "rank 1 of 2: killed by SIGKILL",
        ),
        ("other_waits() if rank else print('training on 1 devices')", "fairseq trains on 1 processes instead of 2"),
        ("print('nothing to do')", "fairseq ended without training"),
        (
            TRAINS + "other_waits(); raise RuntimeError('CUDA out of memory. Tried to allocate 2 GiB')",
            "out of memory with dataset.max_tokens=4096: add dataset.max_tokens=2048 to the command; update_freq then "
            "rises by itself, so that the batch of an update stays",
        ),
        (
            TRAINS + "print('attempting to recover from OOM in forward/backward pass', flush=True); time.sleep(100)",
            "out of memory with dataset.max_tokens=4096: add dataset.max_tokens=2048 to the command; update_freq then "
            "rises by itself, so that the batch of an update stays",
        ),
        (
            TRAINS + "other_waits(); raise RuntimeError('a batch does not fit into memory')",
            "out of memory with dataset.max_tokens=4096: add dataset.max_tokens=2048 to the command; update_freq then "
            "rises by itself, so that the batch of an update stays",
        ),
    ],
)
def test_what_is_wrong_is_found_and_all_processes_end(program, problem, tmp_path, monkeypatch):
    assert watched(program, tmp_path, monkeypatch) == problem


def test_a_process_that_does_not_end_when_told_to_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "PATIENCE", 0.5)
    program = TRAINS + "signal.signal(signal.SIGTERM, signal.SIG_IGN); other_waits(); time.sleep(1); sys.exit(1)"
    assert watched(program, tmp_path, monkeypatch) == "rank 1 of 2: exit status 1"


def test_of_processes_that_failed_at_once_the_killed_one_is_named(tmp_path, monkeypatch):
    program = (
        TRAINS + "rank or sys.exit('RuntimeError: Connection closed by peer'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert watched(program, tmp_path, monkeypatch, at_once=True) == "rank 1 of 2: killed by SIGKILL"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_under_the_log_ends_the_job(tmp_path, monkeypatch):
    problem = watched(TRAINS + "time.sleep(100)", tmp_path, monkeypatch, Job(1), log_file=Path("/dev/full"))
    assert problem == "its output cannot be written: [Errno 28] No space left on device"


def test_each_process_is_told_its_place_and_the_log_has_what_all_print(tmp_path, monkeypatch):
    program = TRAINS.replace("2", "8") + "print(rank, os.environ['WORLD_SIZE'], os.environ['LOCAL_RANK'], sys.argv[1:])"
    assert watched(program, tmp_path, monkeypatch, Job(8, 2, 4, 0, 4, "localhost:1")) == ""
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(line for line in lines if "argument" in line) == ["4 8 0 ['an argument']", "5 8 1 ['an argument']"]
    assert len(lines) == 4


def test_a_second_training_in_a_folder_is_refused_as_long_as_a_process_of_the_first_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "PATIENCE", 0.3)
    lock = launch.take_lock(tmp_path)
    child = subprocess.Popen(["sleep", "100"], pass_fds=[lock])
    os.close(lock)
    with pytest.raises(SystemExit, match=f"another training is at work in {tmp_path}"):
        launch.take_lock(tmp_path)
    child.kill()
    child.wait()
    os.close(launch.take_lock(tmp_path))


@pytest.mark.parametrize(
    "job, start",
    [
        (Job(1), "fairseq-hydra-train"),
        (Job(2, 2), "torchrun --standalone --nproc-per-node 2 -m fairseq_cli.hydra_train"),
        (
            Job(16, 8, 8, 0, 2, "one:29500"),
            "torchrun --nnodes 2 --node-rank 1 --nproc-per-node 8 --master-addr one --master-port 29500 "
            "-m fairseq_cli.hydra_train",
        ),
    ],
)
def test_the_command_line_of_fairseq(job, start):
    line = launch.command_line(job, ["--config-dir", "a run", "x=${y}"])
    assert line == f"cd {shlex.quote(os.getcwd())} && {start} --config-dir 'a run' 'x=${{y}}'"


# fairseq itself, on the CPU


def losses(log: Path) -> dict[int, dict[str, float]]:
    """What was logged of each update, without times."""
    keys = ("loss", "nll_loss", "kl_loss", "gnorm", "bsz")
    return {update: {key: entry[key] for key in keys} for update, entry in report.read_log(log)["train_inner"].items()}


def first(number: int, of: dict[int, dict[str, float]]) -> dict[int, dict[str, float]]:
    return {update: of[update] for update in range(1, number + 1)}


def start(*command: object, **env: str) -> subprocess.Popen[str]:
    settings = toy_run.settings()["env"] | env
    return subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=settings, process_group=0
    )


def wait_for(process: subprocess.Popen[str], folder: Path, pattern: str) -> None:
    """Wait until a file is there that the process makes."""
    wait_until(lambda: list(folder.glob(pattern)), lambda: process.poll() is None)


def two_children(process: subprocess.Popen[str]) -> list[int]:
    """The numbers of its two child processes, once they are there, the older one first."""

    def children() -> list[int]:
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
        return sorted(map(int, found.stdout.split()))

    wait_until(lambda: len(children()) == 2, lambda: process.poll() is None)
    return children()


def free_port() -> int:
    """A free port that a SLURM job's number can stand for."""
    while (port := command_line.free_port()) >= 60000:
        pass
    return port


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config of two GPUs, its data prepared."""
    folder = toy_run.make_configs(tmp_path_factory.mktemp("toy"))
    two = folder / "two.yaml"
    two.write_text((folder / "rdrop.yaml").read_text() + "distributed_training: {distributed_world_size: 2}\n")
    return two


@pytest.fixture(scope="module")
def whole(config: Path) -> tuple[Path, str]:
    """The folder of an uninterrupted run of two processes, and what was printed."""
    folder = config.parent / "whole"
    result = run("train.sh", config, "--seed", 3, "--out", folder, "--cpu-processes", 2)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    return folder, result.stdout


def pasted(printed: str, folder: Path, *overrides: str) -> dict[int, dict[str, float]]:
    """Run the command that was printed, for a folder of its own; return what it logged of each update."""
    line = re.search(r"^fairseq's command:\n(.*)\n", printed, re.MULTILINE)[1]
    words = [*overrides, f"checkpoint.save_dir={folder}", f"common.tensorboard_logdir={folder}"]
    result = subprocess.run(
        ["bash", "-c", f"{line} {shlex.join(words)}"], capture_output=True, text=True, **toy_run.settings()
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    (folder / "log").write_text(result.stdout + result.stderr)
    return losses(folder / "log")


def test_two_processes_train_with_the_batch_of_both(whole):
    folder, printed = whole
    logged = losses(folder / "train.log")
    assert sorted(logged) == list(range(1, 26))
    assert logged[1]["bsz"] == 8  # sentences, with dataset.batch_size 4
    assert "The batch of an update" not in printed
    assert "Next: scripts/evaluate_translation.sh" in printed


def test_the_printed_command_trains_the_same(whole, tmp_path):
    folder, printed = whole
    assert "torchrun --standalone --nproc-per-node 2" in printed
    assert pasted(printed, tmp_path, "optimization.max_update=3") == first(3, losses(folder / "train.log"))


def test_one_process_takes_the_batch_of_two_and_its_command_trains_the_same(config, whole, tmp_path):
    result = run("train.sh", config, "--seed", 3, "--out", tmp_path / "run", "optimization.max_update=3")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    assert (
        "The batch of an update is the recipe's, 2 processes x update_freq 1 x batch_size 4: "
        "here 1 process x update_freq 2 x batch_size 4\n" in result.stdout
    )
    logged = losses(tmp_path / "run/train.log")
    of_two = losses(whole[0] / "train.log")
    assert [logged[update]["bsz"] for update in logged] == [of_two[update]["bsz"] for update in (1, 2, 3)]
    assert "fairseq-hydra-train" in result.stdout
    assert pasted(result.stdout, tmp_path, "optimization.max_update=2") == first(2, logged)


@pytest.mark.parametrize("killed", ["rank 1", "launcher"])
def test_a_killed_process_ends_the_job_and_the_same_command_goes_on(config, whole, killed):
    folder = config.parent / f"killed {killed}"
    command = (SCRIPTS / "train.sh", config, "--seed", 3, "--out", folder, "--cpu-processes", 2)
    process = start(*command)
    wait_for(process, folder, "train.log")
    ranks = two_children(process)
    wait_for(process, folder, "checkpoints/checkpoint_*_10.pt")
    os.kill(ranks[1] if killed == "rank 1" else process.pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=HANG)
    if killed == "rank 1":
        assert process.returncode == 1
        assert errors == (
            f"training failed: rank 1 of 2: killed by SIGKILL. The log is {folder}/train.log; "
            "the same command goes on from the last checkpoint\n"
        )
    wait_until(lambda: all(map(is_gone, ranks)))
    assert max(losses(folder / "train.log")) < 25
    result = run(command[0].name, *command[1:])
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    assert losses(folder / "train.log") == losses(whole[0] / "train.log")


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGHUP, signal.SIGTERM]])
def test_a_job_that_is_told_to_stop_ends_its_processes(config, tmp_path, signals):
    process = start(SCRIPTS / "train.sh", config, "--out", tmp_path / "run", "--cpu-processes", 2)
    wait_for(process, tmp_path, "run/checkpoints/*")
    ranks = two_children(process)
    for number in signals:
        process.send_signal(number)
    output, errors = process.communicate(timeout=HANG)
    assert process.returncode == 1
    wait_until(lambda: all(map(is_gone, ranks)))
    assert errors == f"stopped by {signals[0].name}; the same command goes on from the last checkpoint\n"
    assert "Done" not in output


@pytest.mark.parametrize("launcher", ["nodes", "srun", "torchrun"])
def test_processes_that_are_started_one_by_one_train_together(launcher, config, whole, tmp_path):
    folder = tmp_path / "run"
    command = [SCRIPTS / "train.sh", config, "--seed", 3, "--out", folder, "optimization.max_update=3"]
    port = free_port()
    if launcher == "nodes":
        command += ["--cpu-processes", 1, "--nodes", 2, "--master", f"127.0.0.1:{port}"]
        processes = [start(*command, "--node-rank", rank) for rank in (1, 0)]
    elif launcher == "srun":
        scontrol = tmp_path / "scontrol"
        scontrol.write_text("#!/bin/sh\necho 127.0.0.1\n")
        scontrol.chmod(0o755)
        step = {"PATH": f"{tmp_path}:{toy_run.settings()['env']['PATH']}", "SLURM_JOB_ID": str(port - 10000)}
        step |= {"SLURM_STEP_NODELIST": "here", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
        tasks = [{"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODEID": "0"} for rank in ("1", "0")]
        processes = [start(*command, **step, **task) for task in tasks]
    else:
        processes = [start("torchrun", "--standalone", "--nproc-per-node", 2, "--no-python", *command)]
    for process in processes:
        output, errors = process.communicate(timeout=HANG)
        assert process.returncode == 0, output[-3000:] + errors
    assert losses(folder / "train.log") == first(3, losses(whole[0] / "train.log"))
    assert (folder / "train.1.log").exists()


# In the processes of fairseq alone, the third update does not fit into memory.
OUT_OF_MEMORY = """
import sys
if "fairseq_cli.hydra_train" in sys.orig_argv:
    import torch

    forward, calls = torch.nn.Embedding.forward, 0

    def limited(self, words):
        global calls
        calls += torch.is_grad_enabled()
        if calls > 2 * 2 * 2 and words.shape[0] > 4:  # 2 updates of 2 batches, source and target; 4 sentences twice
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(self, words)

    torch.nn.Embedding.forward = limited
"""


def test_out_of_memory_says_what_to_change_and_that_goes_on_with_the_same_batch(config, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(OUT_OF_MEMORY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    options = [config, "--out", tmp_path / "run", "optimization.max_update=4", "checkpoint.save_interval_updates=1"]
    line = refused("train.sh", *options)
    assert "out of memory with dataset.batch_size=4: add dataset.batch_size=2 to the command" in line
    assert sorted(losses(tmp_path / "run/train.log")) == [1, 2]
    # fairseq, had it gone on without the batch, could have saved a checkpoint that lies behind it.
    assert "attempting to recover from OOM" not in (tmp_path / "run/train.log").read_text()
    result = run("train.sh", *options, "dataset.batch_size=2")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    assert "here 1 process x update_freq 4 x batch_size 2\n" in result.stdout
    logged = losses(tmp_path / "run/train.log")
    assert [logged[update]["bsz"] for update in (1, 2, 3, 4)] == [8, 8, 8, 8]


@pytest.mark.parametrize(
    "options, words",
    [
        (["--gpus", "two"], "--gpus must be a positive integer, not 'two'"),
        (["--gpus"], "--gpus needs a value"),
        (["--cpu-processes", 0], "--cpu-processes must be a positive integer, not '0'"),
        (["--nodes", 2, "--node-rank", -1], "--node-rank must be an integer >= 0, not '-1'"),
        (["--nodes", 2, "--node-rank", 2, "--master", "one:1"], "--node-rank 2: must be 0 to 1"),
    ],
)
def test_train_refuses_and_leaves_no_folder(config, tmp_path, options, words):
    assert words in refused("train.sh", config, "--out", tmp_path / "run", *options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option, words",
    [
        ("--gpus=99", "--gpus 99: this machine has"),
        ("--nodes=2", "--nodes 2 needs --node-rank and --master"),
        ("--cpu-processes=3", "3 processes do not divide the recipe's batch of 2 processes x update_freq 1 x"),
        ("dataset.batch_size=3", "dataset.batch_size=3 does not divide the recipe's batch"),
        ("dataset.batch_size=few", "dataset.batch_size=few: must be a positive integer"),
        ("distributed_training.distributed_world_size=4", "use --gpus"),
        ("common.fp16=true", "common.fp16 needs a GPU, and none is used: add common.fp16=false common.cpu=true"),
    ],
)
def test_a_job_that_cannot_be_is_refused_and_leaves_no_folder(config, tmp_path, option, words):
    assert words in learned_run.tool_refused("recipes.training.launch", "--seed=1", config, tmp_path / "run", option)
    assert not (tmp_path / "run").exists()


def test_rank_0_that_never_comes_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "WAIT_FOR_RANK_0", 0.1)
    with pytest.raises(SystemExit, match="do all machines see the same folder"):
        launch.open_folder(tmp_path / "run", None, Job(2, first_rank=1, nodes=2, master="one:1"))
