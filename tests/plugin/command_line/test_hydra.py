"""fairseq-hydra-train with R-Drop on a made-up corpus."""

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from support.command_line import (
    HYDRA_TRAIN,
    USER_DIR,
    assert_loss_is_sum,
    generate,
    run,
    run_as_program,
)

# fairseq-hydra-train


@pytest.fixture
def hydra_config(data: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Write a config, with changes to its criterion, and return the arguments that name it."""

    def write(**criterion: object) -> list[str]:
        side = {"embed_dim": 16, "ffn_embed_dim": 16, "layers": 1, "attention_heads": 2}
        config = {
            "common": {"user_dir": USER_DIR, "cpu": True, "seed": 7, "log_format": "json", "log_interval": 1},
            "checkpoint": {"save_dir": str(tmp_path / "checkpoints"), "no_epoch_checkpoints": True},
            "distributed_training": {"distributed_world_size": 1},
            "task": {
                "_name": "rdrop_translation",
                "data": str(data),
                "eval_bleu": True,  # puts numpy's types into the checkpoints
                "eval_bleu_args": '{"beam": 1, "max_len_b": 10}',
            },
            "criterion": {
                "_name": "rdrop_label_smoothed_cross_entropy",
                "rdrop_alpha": 2.0,
                "rdrop_passes": 2,
                "label_smoothing": 0.0,
                **criterion,
            },
            "dataset": {"batch_size": 8, "required_batch_size_multiple": 1, "num_workers": 0},
            "optimizer": {"_name": "adam"},
            "lr_scheduler": {"_name": "fixed"},
            "optimization": {"lr": [0.01], "max_update": 4},
            "model": {"_name": "transformer", "dropout": 0.3, "encoder": side, "decoder": side},
            "hydra": {"run": {"dir": "."}, "output_subdir": None},
        }
        OmegaConf.save(OmegaConf.create(config), tmp_path / "tiny.yaml")
        return ["--config-dir", str(tmp_path), "--config-name", "tiny"]

    return write


def test_hydra_trains_resumes_and_generates(data, hydra_config, tmp_path):
    argv = hydra_config()
    result = run(HYDRA_TRAIN, *argv, cwd=tmp_path)
    assert len(result.updates) == 4
    assert_loss_is_sum(result, alpha=2.0)
    resumed = run(HYDRA_TRAIN, *argv, "optimization.max_update=6", "criterion.rdrop_alpha=1.5", cwd=tmp_path)
    assert len(resumed.updates) == 2
    assert_loss_is_sum(resumed, alpha=1.5)
    assert "BLEU4" in generate(data, tmp_path / "checkpoints" / "checkpoint_best.pt").stdout


def test_hydra_train_as_a_program(hydra_config, tmp_path):
    argv = [*hydra_config(), "criterion.rdrop_alpha=3", "+criterion.rdrop_every=2", "common.bf16=true"]
    result = run_as_program(HYDRA_TRAIN, *argv, cwd=tmp_path)
    assert result.status == 0, result.stderr
    assert result.column("rdrop_alpha") == [0, 3, 0, 3]
    assert [kl_loss > 0 for kl_loss in result.column("kl_loss")] == [False, True, False, True]


@pytest.mark.parametrize(
    ("criterion", "override", "message"),
    [
        ({"rdrop_alfa": 1}, [], "rdrop_alfa"),
        ({}, ["+criterion.rdrop_alfa=1"], "rdrop_alfa"),
        ({}, ["criterion.rdrop_alfa=1"], "rdrop_alfa"),
        ({"rdrop_passes": "two"}, [], "Value 'two' of type 'str' could not be converted to Integer"),
        ({}, ["criterion.rdrop_alpha=lots"], "Value 'lots' of type 'str' could not be converted to Float"),
        ({}, ["criterion.rdrop_alpha=-1"], "error: --rdrop-alpha -1.0: must be a finite number >= 0"),
        ({"rdrop_passes": 1}, [], "error: --rdrop-passes 1: must be an integer >= 2"),
    ],
)
def test_hydra_refuses(hydra_config, tmp_path, criterion, override, message):
    result = run(HYDRA_TRAIN, *hydra_config(**criterion), *override, cwd=tmp_path, succeeds=False)
    assert result.status == 1
    assert message in result.stderr
    assert "examples from" not in result.stdout
    if message.startswith("error: "):
        assert "Traceback" not in result.stderr
