"""Trainings that fail in fairseq: what train.sh says, and how they go on; and one on a machine that lacks a package."""

import shutil
from pathlib import Path

import pytest
from recipes.evaluation import curves
from support import command_line, toy_run
from support.forked_training import PATCH


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with configs whose data is prepared."""
    return toy_run.make_configs(tmp_path_factory.mktemp("toy"))


def train(config: Path, folder: Path, *options: object, patch: Path | None = None) -> command_line.Result:
    env = {PATCH: str(patch)} if patch else {}
    return command_line.start("support.forked_training", config, "--out", folder, *options, env=env).result()


def refused(*arguments: object, **options: Path) -> str:
    """Train, check that it fails with one line on stderr, and return that line."""
    result = train(*arguments, **options)
    assert result.status == 1, result.stdout
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def logged(run: Path) -> dict[int, dict[str, float]]:
    return curves.read_log(run / "train.log")["train_inner"]


# The third update does not fit into memory.
OUT_OF_MEMORY = """
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


def test_out_of_memory_says_what_to_change_and_that_goes_on_with_the_same_batch(toy, tmp_path):
    patch, config, folder = tmp_path / "patch.py", tmp_path / "two.yaml", tmp_path / "run"
    patch.write_text(OUT_OF_MEMORY)
    config.write_text((toy / "rdrop.yaml").read_text() + "distributed_training: {distributed_world_size: 2}\n")
    options = ["optimization.max_update=4", "checkpoint.save_interval_updates=1"]
    line = refused(config, folder, *options, patch=patch)
    assert "out of memory with dataset.batch_size=4: add dataset.batch_size=2 to the command" in line
    assert sorted(logged(folder)) == [1, 2]
    # If fairseq went on without the batch, it could save a checkpoint as if it had trained on it.
    assert "attempting to recover from OOM" not in (folder / "train.log").read_text()
    result = train(config, folder, *options, "dataset.batch_size=2", patch=patch)
    assert result.status == 0, result.stdout[-3000:] + result.stderr
    assert "here 1 process x update_freq 4 x batch_size 2\n" in result.stdout
    assert [logged(folder)[update]["bsz"] for update in (1, 2, 3, 4)] == [8, 8, 8, 8]


@pytest.mark.parametrize(
    "override, words",
    [
        ("optimization.lr=0.001", "full_key: optimization.lr"),
        (
            "dataset.max_tokens_valid=5",
            "a validation sentence is longer: add dataset.max_tokens_valid=N with a larger N",
        ),
    ],
)
def test_a_training_that_cannot_start_says_why(toy, tmp_path, override, words):
    line = refused(toy / "rdrop.yaml", tmp_path / "run", override)
    assert line.startswith("train.sh: training failed: ") and words in line
    assert f"The log is {tmp_path}/run/train.log" in line
    assert not logged(tmp_path / "run")


def test_a_checkpoint_that_cannot_be_loaded_is_named(toy, tmp_path, checkpoint):
    checkpoint(tmp_path / "run/checkpoints/checkpoint_last.pt", 5, model={})
    line = refused(toy / "rdrop.yaml", tmp_path / "run")
    assert "checkpoint_last.pt the same command goes on from another checkpoint, or starts from nothing" in line
    assert "goes on from the last checkpoint" not in line


def test_trains_without_tensorboard_in_a_folder_with_odd_signs(toy, tmp_path):
    patch = tmp_path / "patch.py"
    missing = ("tensorboard", "tensorboardX", "torch.utils.tensorboard")
    patch.write_text(
        f"import sys\nfrom fairseq.logging import progress_bar\nsys.modules |= dict.fromkeys({missing})\n"
        "progress_bar.SummaryWriter = None\n"
    )
    config = shutil.copy(toy / "rdrop.yaml", tmp_path / "a=b c.yaml")
    data = shutil.copytree(toy / "bin", tmp_path / "d=e, f")
    folder = tmp_path / "g=h, i'j"
    result = train(config, folder, f"task.data={data}", "optimization.max_update=1", patch=patch)
    assert result.status == 0, result.stdout[-3000:] + result.stderr
    assert "tensorboard is not installed: training goes without its log\n" in result.stdout
    assert (folder / "finished.yaml").exists() and not (folder / "tensorboard").exists()
