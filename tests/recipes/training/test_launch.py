"""The command train.sh: its options, what it refuses, and how it is stopped."""

import itertools
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
from recipes.cli import ROOT
from recipes.training import launch, new_run
from recipes.training.job import Job, JobOptions
from recipes.training.run_folder import RunFolder
from support.toy_run import SCRIPTS, refused, run, settings
from support.waiting import HANG, is_gone, wait_until


def parsed(*words):
    return launch.parse([*map(str, words)])


def message(refuses, *arguments):
    """Return the line with which a call exits."""
    with pytest.raises(SystemExit) as caught:
        refuses(*arguments)
    assert isinstance(caught.value.code, str) and "\n" not in caught.value.code
    return caught.value.code


def train(config, folder, *overrides, **options):
    launch.train(config, RunFolder(folder), 1, list(overrides), JobOptions(**options))


def test_options_and_settings_stand_in_any_order(configs):
    config = configs / "rdrop.yaml"
    args = parsed("a=1", "--gpus", 2, config, "b=[2, 3]", "--seed=7", "--out", "a run", "c.d=e=f")
    assert (args.config, args.overrides) == (config, ["a=1", "b=[2, 3]", "c.d=e=f"])
    assert (args.gpus, args.seed, args.out) == (2, 7, Path("a run"))
    assert (args.cpu_processes, args.nodes, args.node_rank, args.master) == (None,) * 4
    odd = config.rename(configs / "a=b.yaml")
    args = parsed(odd, odd)
    assert (args.config, args.overrides, args.seed, args.out) == (odd, [str(odd)], 1, None)


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "no config given"),
        (["a=b"], "no config given"),
        (["configs/nothing.yaml"], "there is no config configs/nothing.yaml; there are: configs/"),
        (["CONFIG", "--seed", "one"], "--seed: must be an integer >= 0, not 'one'"),
        (["CONFIG", "--seed", "½"], "--seed: must be an integer >= 0, not '½'"),
        (["CONFIG", "--seed", "99999999999"], "--seed: must be an integer up to 2147483647, not '99999999999'"),
        (["CONFIG", "--node-rank", "²"], "--node-rank: must be an integer >= 0, not '²'"),
        (["CONFIG", "--node-rank", "-1"], "--node-rank: must be an integer >= 0, not '-1'"),
        (["CONFIG", "--seed"], "--seed: expected one argument"),
        (["CONFIG", "--out", ""], "--out: needs a value"),
        (["CONFIG", "--gpus", "two"], "--gpus: must be a positive integer, not 'two'"),
        (["CONFIG", "--gpus"], "--gpus: expected one argument"),
        (["CONFIG", "--cpu-processes", "0"], "--cpu-processes: must be a positive integer, not '0'"),
        (["CONFIG", "--sed", "1"], "unrecognized arguments: --sed"),
        (["CONFIG", "CONFIG"], "two configs"),
    ],
)
def test_options_that_are_refused(configs, options, words):
    names = {"CONFIG": configs / "rdrop.yaml"}
    assert words in message(parsed, *(names.get(option, option) for option in options))


def test_the_folder_of_a_run_has_the_names_of_config_and_seed(configs, monkeypatch):
    config = configs / "rdrop.yaml"
    monkeypatch.chdir(configs)
    assert launch.default_folder(config, 5).path == ROOT / "runs/configs/rdrop/seed5"
    assert launch.default_folder(Path("rdrop.yaml"), 5).path == ROOT / "runs/configs/rdrop/seed5"
    monkeypatch.chdir(ROOT)
    assert launch.default_folder(config, 5).path == Path("runs/configs/rdrop/seed5")


@pytest.mark.parametrize(
    "override, words",
    [
        ("common.seed=77", "common.seed=77: leave it out: --seed sets it"),
        ("common.user_dir=mine", "it is the plugin's, rdrop_fairseq"),
        ("common.tensorboard_logdir=/mine", "--out sets it"),
        ("checkpoint.save_dir=/mine", "--out sets it"),
        ("hydra.run.dir=/mine", "hydra.run.dir=/mine: leave it out: train.sh sets it"),
        ("hydra.verbose=true", "hydra.verbose=True: leave it out"),
        (
            "checkpoint.restore_file=/mine.pt",
            "would start from that file each time; --from RUN_OR_CHECKPOINT starts",
        ),
        ("checkpoint.continue_once=/none.pt", "checkpoint.continue_once=/none.pt: there is no such file"),
        ("checkpoint.finetune_from_model=/none.pt", "checkpoint.finetune_from_model=/none.pt: there is no such file"),
        ("checkpoint.reset_optimizer=true", "it would be reset each time the run goes on"),
        ("checkpoint.no_save=true", "a run needs its checkpoints"),
        ("checkpoint.no_last_checkpoints=true", "a run needs its checkpoints"),
        ("checkpoint.no_save_optimizer_state=true", "a run needs its checkpoints"),
        ("checkpoint.write_checkpoints_asynchronously=true", "a run needs its checkpoints"),
        ("common.suppress_crashes=true", "would look like one that has ended"),
        (
            "distributed_training.distributed_init_method=tcp://one:1",
            "--gpus, --cpu-processes, --nodes and --master set",
        ),
        ("dataset.batch_size=null", "the size of a batch on one GPU is missing: set dataset.max_tokens or dataset.bat"),
        ("optimization.update_freq=[]", "optimization.update_freq=[]: must be a list of positive integers"),
        ("optimization.update_freq=[99999999999999]", "holds more than 1000000000000; use less"),
        ("optimization.max_update=99999999999999999999", "the largest integer allowed is 9223372036854775807"),
        ("optimization=5", "optimization must be a section of settings, not 5"),
        ("task.data=${nothing}", "task.data: Interpolation key"),
        ("task.data=/one:/two", "task.data /one:/two: fairseq takes a colon for the end of a path"),
        ("task.data=/nowhere", "task.data /nowhere: no such folder; the first lines of"),
        ("task=7", "task.data"),
        ("dataset.batch_size=3", "dataset.batch_size=3 does not divide the recipe's batch"),
        ("dataset.batch_size=few", "dataset.batch_size=few: must be a positive integer"),
        ("distributed_training.distributed_world_size=4", "use --gpus"),
        ("common.fp16=true", "common.fp16 needs a GPU, and none is used: add common.fp16=false common.cpu=true"),
    ],
)
def test_settings_that_do_not_go_with_a_run_are_refused_and_leave_no_folder(configs, tmp_path, override, words):
    assert words in message(train, configs / "rdrop.yaml", tmp_path / "run", override)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"gpus": 99}, "--gpus 99: this machine has"),
        ({"nodes": 2}, "--nodes 2 needs --node-rank and --master"),
        ({"nodes": 2, "node_rank": 2, "master": "one:1"}, "--node-rank 2: must be 0 to 1"),
        ({"cpu_processes": 3}, "3 processes do not divide the recipe's batch of 1 process x update_freq 1 x"),
    ],
)
def test_a_job_that_cannot_be_is_refused_and_leaves_no_folder(configs, tmp_path, options, words):
    assert words in message(lambda: train(configs / "rdrop.yaml", tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_to_start_from_is_looked_for_in_the_repository(configs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    launch.read_recipe(configs / "rdrop.yaml", RunFolder(tmp_path), 1, ["checkpoint.finetune_from_model=setup.py"])


@pytest.mark.parametrize("task, ends", [("rdrop_translation", True), ("translation", False)])
def test_only_a_task_that_knows_the_setting_is_told_to_end_when_out_of_memory(configs, tmp_path, task, ends):
    run = RunFolder(tmp_path / "run")
    recipe, batch = launch.read_recipe(configs / "rdrop.yaml", run, 1, [f"task._name={task}"])
    new_run.make_folder(recipe, run)
    arguments = launch.fairseq_arguments(run, Job(1, cpu=True), batch)
    assert ("++task.rdrop_end_when_out_of_memory=true" in arguments) is ends
    assert "rdrop_end_when" not in run.train_yaml.read_text()


@pytest.mark.parametrize(
    "job, start",
    [
        (Job(1), "fairseq-hydra-train"),
        (Job(2, 2), "torchrun --standalone --nproc-per-node 2 -m fairseq_cli.hydra_train"),
        (
            Job(16, 8, 8, 0, 2, "one:29500"),
            "torchrun --nnodes 2 --node-rank 1 --master-addr one --master-port 29500 --nproc-per-node 8 "
            "-m fairseq_cli.hydra_train",
        ),
    ],
)
def test_the_command_line_of_fairseq(job, start):
    line = launch.command_line(job, ["--config-dir", "a run", "x=${y}"])
    assert line == f"cd {shlex.quote(str(ROOT))} && {start} --config-dir 'a run' 'x=${{y}}'"


# The script itself, with a program in place of fairseq that trains for ever


TRAINS = """
import os, time
rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if rank == 0:
    os.write(1, f"training on {world_size} devices\\n".encode())
update = 0
while True:
    update += 1
    os.write(1, f"rank {rank} of {world_size}: update {update}\\n".encode())  # at once: the lines of two do not mix
    time.sleep(0.005)
"""


@pytest.fixture
def endless(tmp_path, monkeypatch):
    """Let the program be fairseq in processes that are started from here."""
    package = tmp_path / "stub/fairseq_cli"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "hydra_train.py").write_text(TRAINS)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


def start(config: Path, folder: Path, *options: object) -> subprocess.Popen[str]:
    command = [
        SCRIPTS / "train.sh",
        config,
        "--out",
        folder,
        "distributed_training={distributed_world_size: 2}",
        *options,
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = settings()["env"]
    process = subprocess.Popen([*map(str, command)], **pipes, env=env, process_group=0)
    wait_until(lambda: updates(folder / "train.log"), lambda: process.poll() is None)
    return process


def updates(log: Path) -> dict[str, list[int]]:
    """Return the updates that each rank has logged in whole lines, where both have."""
    found: dict[str, list[int]] = {}
    if log.exists():
        for rank, update in re.findall(r"^rank (\d) of 2: update (\d+)\n", log.read_text(), re.MULTILINE):
            found.setdefault(rank, []).append(int(update))
    return found if len(found) == 2 else {}


def children_of(process: subprocess.Popen[str]) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    return [int(number) for number in found.stdout.split()]


def test_ctrl_c_ends_a_job_and_its_processes(endless, configs, tmp_path):
    process = start(configs / "rdrop.yaml", tmp_path / "run", "--cpu-processes", 2)
    ranks = children_of(process)
    assert len(ranks) == 2
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=HANG)
    assert process.returncode == 128 + signal.SIGINT
    wait_until(lambda: all(map(is_gone, ranks)))
    assert errors == "train.sh: interrupted; the same command goes on from the last checkpoint\n"
    assert "Done" not in output


def test_a_launcher_that_is_killed_takes_its_processes_along_and_the_log_is_whole(endless, configs, tmp_path):
    process = start(configs / "rdrop.yaml", tmp_path / "run", "--cpu-processes", 2)
    ranks = children_of(process)
    process.send_signal(signal.SIGSTOP)  # what the processes print from here on, it does not read
    before = updates(tmp_path / "run/train.log")
    wait_until(lambda: len(updates(tmp_path / "run/train.log")["0"]) > len(before["0"]) + 50)
    process.kill()
    process.communicate(timeout=HANG)
    wait_until(lambda: all(map(is_gone, ranks)))
    for of_rank in updates(tmp_path / "run/train.log").values():
        assert of_rank == list(itertools.islice(itertools.count(1), len(of_rank)))


def test_train_sh_refuses_in_one_line(configs, tmp_path):
    line = refused("train.sh", configs / "rdrop.yaml", "--out", tmp_path / "run", "--seed", "one")
    assert line == "train.sh: argument --seed: must be an integer >= 0, not 'one' (see --help)\n"
    (tmp_path / "broken.yaml").write_text("common: {seed: 1\n")
    assert "broken.yaml cannot be read" in refused("train.sh", "--out", tmp_path / "run", tmp_path / "broken.yaml")
    assert not (tmp_path / "run").exists()


def test_train_sh_prints_its_header_as_help():
    result = run("train.sh", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "\nUsage: scripts/train.sh CONFIG [--seed N]" in result.stdout
