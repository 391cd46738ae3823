"""Which processes the options, torchrun or SLURM ask for."""

import pytest
from recipes.training.batch import Batch
from recipes.training.job import Job, JobOptions, find_job

WMT = Batch(gpus=8, update_freq=[16], key="dataset.max_tokens", size=4096, asked=4096)
IWSLT = Batch(1, [1], "dataset.max_tokens", 4096, 4096)
TORCHRUN = {
    "RANK": "9",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "16",
    "LOCAL_WORLD_SIZE": "8",
    "MASTER_ADDR": "one",
    "MASTER_PORT": "29500",
}
SLURM = {"SLURM_JOB_ID": "50007", "SLURM_STEP_NODELIST": "node[1-2]", "SLURM_STEP_NUM_NODES": "2"}
TASK_A_GPU = SLURM | {"SLURM_STEP_NUM_TASKS": "16", "SLURM_PROCID": "9", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}
TASK_A_NODE = SLURM | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0", "SLURM_NODEID": "1"}


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Put a scontrol on the path that knows the two machines of SLURM."""
    program = tmp_path / "scontrol"
    program.write_text('#!/bin/sh\n[ "$*" = "show hostnames node[1-2]" ] && printf "node1\\nnode2\\n"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.mark.parametrize(
    "options, env, gpus_here, batch, job",
    [
        (JobOptions(), {}, 8, WMT, Job(8, 8)),
        (JobOptions(), {}, 1, WMT, Job(1)),
        (JobOptions(), {}, 6, WMT, Job(4, 4)),  # 4 is the greatest number that divides 128
        (JobOptions(), {}, 8, IWSLT, Job(1)),
        (JobOptions(), {}, 0, WMT, Job(1, cpu=True)),
        (JobOptions(gpus=2), {}, 8, WMT, Job(2, 2)),
        (JobOptions(cpu_processes=2), {}, 8, WMT, Job(2, 2, cpu=True)),
        (JobOptions(nodes=1), {}, 4, WMT, Job(4, 4)),
        (
            JobOptions(nodes=4, node_rank=3, master="one:29500"),
            {},
            8,
            WMT,
            Job(32, 8, first_rank=24, nodes=4, master="one:29500"),
        ),
        (
            JobOptions(gpus=2, nodes=2, node_rank=0, master="one:29500"),
            {},
            8,
            WMT,
            Job(4, 2, nodes=2, master="one:29500"),
        ),
        (JobOptions(), TORCHRUN, 8, WMT, Job(16, 1, 9, 1, 2, "one:29500")),
        (JobOptions(), TORCHRUN, 0, WMT, Job(16, 1, 9, 1, 2, "one:29500", cpu=True)),
        (JobOptions(), TASK_A_GPU, 8, WMT, Job(16, 1, 9, 1, 2, "node1:10007")),
        (JobOptions(), TASK_A_GPU, 1, WMT, Job(16, 1, 9, 0, 2, "node1:10007")),  # a task that sees its own GPU alone
        (JobOptions(), TASK_A_NODE, 8, WMT, Job(16, 8, 8, 0, 2, "node1:10007")),
        (JobOptions(gpus=4, master="other:1"), TASK_A_NODE, 8, WMT, Job(8, 4, 4, 0, 2, "other:1")),
        (JobOptions(), {"SLURM_JOB_ID": "7", "SLURM_STEP_NUM_TASKS": "1"}, 8, WMT, Job(8, 8)),
        (JobOptions(), {"SLURM_JOB_ID": "7", "SLURM_NNODES": "2"}, 8, WMT, Job(8, 8)),  # in sbatch, without srun
    ],
)
def test_the_job(scontrol, options, env, gpus_here, batch, job):
    assert find_job(options, env, gpus_here, cpu=False, batch=batch) == job


@pytest.mark.parametrize(
    "options, env, gpus_here, cpu, message",
    [
        (JobOptions(gpus=2), {}, 1, False, "--gpus 2: this machine has 1 GPU$"),
        (JobOptions(gpus=1), {}, 0, False, "--gpus 1: this machine has no GPU$"),
        (
            JobOptions(gpus=3),
            {},
            8,
            False,
            "3 processes do not divide .* 8 processes x update_freq 16 x max_tokens 4096; ",
        ),
        (JobOptions(gpus=3), {}, 8, False, "use 1, 2, 4, 8, 16, 32, 64 or 128 in all, or another dataset.max_tokens$"),
        (JobOptions(gpus=2, cpu_processes=2), {}, 8, False, "exclude each other"),
        (JobOptions(gpus=2), {}, 8, True, "exclude each other"),
        (JobOptions(nodes=2), {}, 8, False, "--nodes 2 needs --node-rank and --master"),
        (JobOptions(nodes=2, node_rank=1), {}, 8, False, "--nodes 2 needs --node-rank and --master"),
        (JobOptions(node_rank=1), {}, 8, False, "need --nodes"),
        (JobOptions(master="one:1"), {}, 8, False, "need --nodes"),
        (
            JobOptions(nodes=2, node_rank=2, master="one:1"),
            {},
            8,
            False,
            "--node-rank 2: must be 0 to 1 with --nodes 2",
        ),
        (JobOptions(nodes=2, node_rank=0, master="one"), {}, 8, False, "--master one: must be HOST:PORT"),
        (JobOptions(nodes=2, node_rank=0, master="one:99999"), {}, 8, False, "--master one:99999: must be HOST:PORT"),
        (JobOptions(nodes=3, node_rank=0, master="one:1"), {}, 1, False, "3 processes do not divide"),
        (JobOptions(gpus=2), TORCHRUN, 8, False, "torchrun started this as one of its processes: leave out --gpus"),
        (JobOptions(gpus=2), TASK_A_GPU, 8, False, "srun started this as one of its processes: leave out --gpus"),
        (JobOptions(), TORCHRUN | {"LOCAL_RANK": "4"}, 4, False, "rank 9 wants GPU 4, but this machine shows only 4"),
        (JobOptions(), TORCHRUN | {"WORLD_SIZE": "24"}, 8, False, "24 processes do not divide"),
        (JobOptions(), TORCHRUN | {"RANK": "one"}, 8, False, "^RANK=one in the environment: must be an integer >= 0"),
        (JobOptions(), TORCHRUN | {"WORLD_SIZE": "-1"}, 8, False, "^WORLD_SIZE=-1 in the environment"),
        (JobOptions(), TORCHRUN | {"LOCAL_WORLD_SIZE": ""}, 8, False, "^LOCAL_WORLD_SIZE= in the environment"),
        (JobOptions(), TORCHRUN | {"MASTER_PORT": "²"}, 8, False, "^MASTER_PORT=² in the environment"),
        (JobOptions(), TORCHRUN | {"RANK": "16"}, 8, False, "^RANK=16 in the environment: must be 0 to 15 with 16"),
        (JobOptions(), TASK_A_GPU | {"SLURM_PROCID": "16"}, 8, False, "^SLURM_PROCID=16 .* must be 0 to 15 with 16"),
        (JobOptions(), TASK_A_GPU | {"SLURM_LOCALID": "x"}, 8, False, "^SLURM_LOCALID=x in the environment"),
        (JobOptions(), TASK_A_NODE | {"SLURM_STEP_NUM_TASKS": "2.0"}, 8, False, "^SLURM_STEP_NUM_TASKS=2.0 in the"),
        (JobOptions(), TASK_A_NODE | {"SLURM_NODEID": "2"}, 8, False, "--node-rank 2: must be 0 to 1 with --nodes 2"),
        (JobOptions(), {"SLURM_STEP_NUM_TASKS": "2"}, 8, False, "^SLURM_LOCALID= in the environment"),
        (JobOptions(), TASK_A_GPU | {"SLURM_STEP_NODELIST": "x"}, 8, False, "scontrol does not say which machine"),
    ],
)
def test_a_job_that_cannot_be_is_refused(scontrol, options, env, gpus_here, cpu, message):
    with pytest.raises(SystemExit, match=message):
        find_job(options, env, gpus_here, cpu, WMT)


def test_without_scontrol_the_master_has_to_be_given(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="scontrol does not say which machine"):
        find_job(JobOptions(), TASK_A_NODE, 8, False, WMT)
    assert find_job(JobOptions(master="one:1"), TASK_A_NODE, 8, False, WMT).master == "one:1"
