"""The configs of the recipes, and what fairseq makes of them."""

from functools import cache
from pathlib import Path
from unittest import mock

import yaml
from fairseq.dataclass.initialize import hydra_init
from fairseq_cli import hydra_train
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from support.places import ROOT
from support.spared import spare

CONFIGS = sorted(path for path in (ROOT / "configs").glob("*/*.yaml") if path.parent.name != "studies")


@cache
def resolved(path: Path) -> DictConfig:
    """Return the whole config that fairseq-hydra-train trains with."""
    spare()
    hydra_init(path.stem)
    with initialize_config_dir(str(path.parent), version_base="1.1"):
        cfg = compose(path.stem)
    with mock.patch.object(hydra_train.distributed_utils, "call_main") as call_main:
        hydra_train._hydra_main(cfg)
    return call_main.call_args.args[0]


def load(path: Path) -> dict:
    """Return what a config says itself."""
    return yaml.safe_load(path.read_text())


def names(paths: list[Path]) -> list[str]:
    """Return the folder and name of each config, as in "multi30k_deen/rdrop"."""
    return [f"{path.parent.name}/{path.stem}" for path in paths]
