"""fairseq-train and fairseq-hydra-train with R-Drop on summarization: BART, a cut source, the task of translation."""

from pathlib import Path

from omegaconf import OmegaConf
from support.command_line import HYDRA_TRAIN, RDROP, TINY, USER_DIR, assert_loss_is_sum, run, train

# Wide enough that the passes differ: BART begins with small embeddings.
WIDE = (*(flag.replace("dim=16", "dim=64") for flag in TINY), "--dropout=0.5")
WIDE_MODEL = dict(flag.lstrip("-").replace("-", "_").split("=") for flag in WIDE)
CUT = ("--truncate-source", "--max-source-positions", "6")


def test_alpha_reaches_the_loss_of_summarization(data):
    """Official summarization code: ``--reg-alpha`` is read, and the task drops it, so that it trains with 0."""
    flags = ("--label-smoothing", "0", "--rdrop-alpha", "0.7", "--arch", "bart_base", *WIDE, *CUT)
    result = train(data, *RDROP, *flags)
    assert_loss_is_sum(result, alpha=0.7)


def test_alpha_reaches_the_loss_of_summarization_through_hydra_and_bart_loads_there(data: Path, tmp_path: Path):
    """fairseq's BART fails to load where its settings do not name the task, as here."""
    config = {
        "common": {"user_dir": USER_DIR, "cpu": True, "seed": 7, "log_format": "json", "log_interval": 1},
        "checkpoint": {"save_dir": str(tmp_path / "checkpoints"), "no_epoch_checkpoints": True},
        "distributed_training": {"distributed_world_size": 1},
        "task": {"_name": "rdrop_translation", "data": str(data), "truncate_source": True, "max_source_positions": 6},
        "criterion": {
            "_name": "rdrop_label_smoothed_cross_entropy",
            "rdrop_alpha": 0.7,
            "label_smoothing": 0.0,
        },
        "dataset": {"batch_size": 8, "required_batch_size_multiple": 1, "num_workers": 0},
        "optimizer": {"_name": "adam"},
        "lr_scheduler": {"_name": "fixed"},
        "optimization": {"lr": [0.01], "max_update": 2},
        "model": {"_name": "bart_base", "max_source_positions": 6}
        | {key: float(value) if "drop" in key else int(value) for key, value in WIDE_MODEL.items()},
        "hydra": {"run": {"dir": "."}, "output_subdir": None},
    }
    OmegaConf.save(OmegaConf.create(config), tmp_path / "tiny.yaml")
    argv = ["--config-dir", str(tmp_path), "--config-name", "tiny"]
    assert_loss_is_sum(run(HYDRA_TRAIN, *argv, cwd=tmp_path), alpha=0.7)
    resumed = run(HYDRA_TRAIN, *argv, "optimization.max_update=3", cwd=tmp_path)
    assert len(resumed.updates) == 1
    assert_loss_is_sum(resumed, alpha=0.7)
