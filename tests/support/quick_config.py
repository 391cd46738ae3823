"""A quick way from a command line to fairseq's configuration, for processes of ``command_line``'s fork server.

fairseq-train puts its configuration together with hydra, from hundreds of overrides: that takes three times as long as
the rest of a tiny training. Here the configuration without overrides is put together once, and each process merges
its overrides into a copy. ``test_quick_config.py`` compares the result with hydra's.
"""

import copy
from pathlib import Path

import fairseq
from fairseq.dataclass import utils as config
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

hydras_compose = config.compose


def compose(config_name: str, overrides: list[str], strict: bool) -> DictConfig:
    """Return what hydra's function of this name returns for fairseq's configuration."""
    cfg = copy.deepcopy(_BARE)
    pairs = [override.split("=", 1) for override in overrides]
    for group, name in pairs:
        if "." not in group:  # the configuration of a task, criterion, optimizer, ...
            cfg[group] = copy.deepcopy(ConfigStore.instance().load(f"{group}/{name}.yaml").node)
    cfg.merge_with_dotlist([f"{key}={value}" for key, value in pairs if "." in key])
    return cfg


def install() -> None:
    """Let fairseq put its configurations together the quick way in this process."""
    config.compose = compose


with initialize_config_dir(str(Path(fairseq.__file__).parent / "config")):
    _BARE = hydras_compose("config", overrides=[], strict=False)
OmegaConf.set_struct(_BARE, False)
