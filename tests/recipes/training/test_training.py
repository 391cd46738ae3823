"""Training with fairseq on the CPU: one whole run, and others that must train the same, started, stopped, continued."""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from recipes.evaluation import curves
from support import command_line, toy_run
from support.places import ROOT
from support.toy_run import SCRIPTS, settings
from support.unchanged import unchanged
from support.waiting import is_gone, wait_until

TRAIN = "support.forked_training"  # train.sh, much faster
EVALUATE = ("support.script_entry", "recipes.evaluation.translation")


def losses(log: Path) -> dict[int, dict[str, float]]:
    """Return what was logged of each update, without times."""
    keys = ("loss", "nll_loss", "kl_loss", "gnorm", "bsz")
    return {update: {key: entry[key] for key in keys} for update, entry in curves.read_log(log)["train_inner"].items()}


def first(number: int, of: dict[int, dict[str, float]]) -> dict[int, dict[str, float]]:
    return {update: of[update] for update in range(1, number + 1)}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a config of two GPUs, its data prepared."""
    folder = toy_run.make_configs(tmp_path_factory.mktemp("toy"))
    two = folder / "two.yaml"
    two.write_text((folder / "rdrop.yaml").read_text() + "distributed_training: {distributed_world_size: 2}\n")
    return two


@pytest.fixture(scope="module")
def whole(config: Path) -> tuple[Path, str]:
    """Return the folder of an uninterrupted run of two processes, and what was printed."""
    folder = config.parent / "runs/two/seed3"
    return folder, trained(config, folder, "--cpu-processes", 2)


def launched(config: Path, folder: Path, *options: object) -> command_line.Result:
    """Train with seed 3."""
    return command_line.run(TRAIN, config, "--seed", 3, "--out", folder, *options, succeeds=False)


def trained(config: Path, folder: Path, *options: object) -> str:
    """Train with seed 3 to the end; return what was printed."""
    result = launched(config, folder, *options)
    assert (result.status, result.stderr) == (0, ""), result.stdout[-3000:] + result.stderr
    return result.stdout


def printed_command(printed: str) -> str:
    """Return fairseq's own command, as train.sh prints it."""
    return re.search(r"^fairseq's command:\n  (.*)\n", printed, re.MULTILINE)[1]


def for_folder(folder: Path, max_update: int) -> list[str]:
    """Return the settings with which a command that was printed trains for a folder of its own."""
    settings_ = [f"checkpoint.save_dir={folder}", f"common.tensorboard_logdir={folder}"]
    return [f"optimization.max_update={max_update}", *settings_]


def test_a_run_folder_holds_config_log_checkpoints_versions_and_tensorboard(whole):
    folder, printed = whole
    assert "seed: 3" in (folder / "train.yaml").read_text()
    logged = losses(folder / "train.log")
    assert sorted(logged) == list(range(1, 26))
    assert logged[1]["bsz"] == 8  # sentences, of two processes with dataset.batch_size 4
    assert "The batch of an update" not in printed
    assert f"Next: scripts/evaluate_translation.sh {folder}\n" in printed
    assert printed.endswith((folder / "train.log").read_text() + printed.splitlines(keepends=True)[-1])
    assert {"checkpoint_best.pt", "checkpoint_last.pt"} < {path.name for path in (folder / "checkpoints").iterdir()}
    said = (folder / "versions.txt").read_text()
    assert f"python {sys.version.split()[0]}" in said and "fairseq-fixed 0.12.3.1" in said
    assert any((folder / "tensorboard").rglob("events.out.tfevents*"))
    data = folder.parents[2] / "bin"
    known = {name: hashlib.sha256((data / name).read_bytes()).hexdigest() for name in ("dict.de.txt", "dict.en.txt")}
    assert (folder / "dictionaries.txt").read_text() == "".join(f"{known[name]}  {name}\n" for name in known)


def test_the_printed_command_trains_the_same_when_it_is_pasted(whole, tmp_path):
    folder, printed = whole
    command = printed_command(printed)
    assert "torchrun --standalone --nproc-per-node 2" in command
    command = f"{command} {shlex.join(for_folder(tmp_path, 3))}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, **settings())
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    (tmp_path / "log").write_text(result.stdout + result.stderr)
    assert losses(tmp_path / "log") == first(3, losses(folder / "train.log"))


def test_one_process_takes_the_batch_of_two_and_its_command_trains_the_same(config, whole, tmp_path):
    printed = trained(config, tmp_path / "run", "optimization.max_update=3")
    assert (
        "The batch of an update is the recipe's, 2 processes x update_freq 1 x batch_size 4: "
        "here 1 process x update_freq 2 x batch_size 4\n" in printed
    )
    logged = losses(tmp_path / "run/train.log")
    of_two = losses(whole[0] / "train.log")
    assert [logged[update]["bsz"] for update in logged] == [of_two[update]["bsz"] for update in (1, 2, 3)]
    cd, folder, and_, fairseq, *arguments = shlex.split(printed_command(printed))
    assert (cd, folder, and_, fairseq) == ("cd", str(ROOT), "&&", "fairseq-hydra-train")
    result = command_line.run(command_line.HYDRA_TRAIN, *arguments, *for_folder(tmp_path, 2), cwd=ROOT)
    (tmp_path / "log").write_text(result.stdout)
    assert losses(tmp_path / "log") == first(2, logged)


def started(config: Path, folder: Path, *options: object) -> tuple[command_line.Running, list[int]]:
    """Start a training of two processes; return it, and the numbers of the processes, the older one first."""
    job = command_line.start(TRAIN, config, "--seed", 3, "--out", folder, "--cpu-processes", 2, *options)
    wait_until(lambda: list(folder.glob("checkpoints/checkpoint_*_10.pt")), job.process.is_alive)
    found = subprocess.run(["pgrep", "-P", str(job.process.pid)], capture_output=True, text=True, check=False)
    ranks = sorted(map(int, found.stdout.split()))
    assert len(ranks) == 2
    return job, ranks


@pytest.mark.parametrize("killed", ["rank 1", "launcher", "all, while the last checkpoint is written"])
def test_a_killed_process_ends_the_job_and_the_same_command_goes_on(config, whole, tmp_path, killed):
    folder = tmp_path / "run"
    job, ranks = started(config, folder)
    for number in {"rank 1": ranks[1:], "launcher": [job.process.pid]}.get(killed, [job.process.pid, *ranks]):
        os.kill(number, signal.SIGKILL)
    result = job.result()
    wait_until(lambda: all(map(is_gone, ranks)))
    if killed == "rank 1":
        assert result.status == 1
        assert result.stderr == (
            f"train.sh: training failed: rank 1 of 2: killed by SIGKILL. The log is {folder}/train.log; "
            "the same command goes on from the last checkpoint\n"
        )
    assert 10 <= max(losses(folder / "train.log")) < 25
    last = folder / "checkpoints/checkpoint_last.pt"
    if killed.startswith("all") and last.exists():
        last.write_bytes(last.read_bytes()[:-100])
    printed = trained(config, folder, "--cpu-processes", 2)
    assert ("is cut short" in printed) is killed.startswith("all")
    assert losses(folder / "train.log") == losses(whole[0] / "train.log")
    if killed.startswith("all"):
        trained(config, folder, "--cpu-processes", 2, "optimization.max_update=27")
        assert max(losses(folder / "train.log")) == 27
        assert "max_update: 27" in (folder / "train.yaml").read_text()


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGHUP, signal.SIGTERM]])
def test_a_job_that_is_told_to_stop_ends_its_processes(config, tmp_path, signals):
    job, ranks = started(config, tmp_path / "run", "optimization.max_update=100000")
    for number in signals:
        os.kill(job.process.pid, number)
    result = job.result()
    assert result.status == 128 + signals[0]
    wait_until(lambda: all(map(is_gone, ranks)))
    assert result.stderr == "train.sh: interrupted; the same command goes on from the last checkpoint\n"
    assert "Done" not in result.stdout


@pytest.mark.parametrize("launcher", ["nodes", "srun", "torchrun"])
def test_processes_that_are_started_one_by_one_train_together(launcher, config, whole, tmp_path):
    folder = tmp_path / "run"
    options = [config, "--seed", 3, "--out", folder, "optimization.max_update=3"]
    while (port := command_line.free_port()) >= 60000:  # a SLURM job's number can stand for it
        pass
    if launcher == "torchrun":
        two = ["--standalone", "--nproc-per-node", 2, "--no-python", SCRIPTS / "train.sh"]
        command_line.run(f"{TRAIN}:torchrun_main", *two, *options)
    else:
        scontrol = tmp_path / "scontrol"
        scontrol.write_text("#!/bin/sh\necho 127.0.0.1\n")
        scontrol.chmod(0o755)
        step = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": str(port - 10000)}
        step |= {"SLURM_STEP_NODELIST": "here", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
        nodes = ["--cpu-processes", 1, "--nodes", 2, "--master", f"127.0.0.1:{port}", "--node-rank"]
        jobs = []
        for rank in ("1", "0"):
            task = step | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODEID": "0"}
            more, env = ([*nodes, rank], {}) if launcher == "nodes" else ([], task)
            jobs.append(command_line.start(TRAIN, *options, *more, env=env))
        for result in [job.result() for job in jobs]:
            assert result.status == 0, result.stdout[-3000:] + result.stderr
    assert losses(folder / "train.log") == first(3, losses(whole[0] / "train.log"))
    assert (folder / "train.1.log").exists()


def test_another_config_in_the_same_folder_is_refused_and_nothing_changes(config, whole):
    with unchanged(whole[0]):
        line = launched(config, whole[0], "optimization.lr=[0.5]").stderr
        assert "optimization.lr ([0.01] there, [0.5] now)" in line and "--out" in line
        line = launched(config.parent / "baseline.yaml", whole[0]).stderr
        assert "criterion._name" in line and line.count("\n") == 1


@pytest.mark.parametrize(
    "made_before, overrides",
    [
        (False, []),
        (True, []),
        (False, ["optimization.max_update=20"]),
        (True, ["optimization.max_update=20", "common.log_interval=7"]),
        (True, ["optimization.max_update=100", "optimization.max_epoch=2"]),
    ],
)
def test_a_finished_run_started_again_is_left_as_it_is(config, whole, made_before, overrides):
    finished = whole[0] / "finished.yaml"
    text = finished.read_text()
    if made_before:  # by a version that did not write it
        finished.unlink()
    try:
        with unchanged(whole[0]):
            assert f"{whole[0]} is finished, and stays as it is" in trained(config, whole[0], *overrides)
    finally:
        finished.write_text(text)


def test_a_report_has_the_numbers_of_the_run(whole, tmp_path):
    command_line.run(*EVALUATE, whole[0])
    runs = [whole[0], shutil.copytree(whole[0], whole[0].parent / "seed4")]
    printed = command_line.run("support.script_entry", "recipes.evaluation.report", "--out", tmp_path, *runs).stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines()]
    bleu = json.loads((whole[0] / "evaluation/best/made_up.json").read_text())["bleu"]
    row = dict(zip(rows[0], rows[2], strict=True))
    assert (row["run"], row["seed"], row["updates"], row["made_up BLEU"]) == ("two", "3", "25", f"{bleu:.2f}")
    assert dict(zip(rows[0], rows[4], strict=True))["made_up BLEU"] == f"{bleu:.2f} ± 0.00"
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    curve = json.loads((tmp_path / "runs.json").read_text())[0]["curve"]
    assert [point["update"] for point in curve] == [5, 10, 15, 20, 25]
