"""A quick way from a command line to fairseq's configuration, for forks of ``fork_server`` and for ``in_process``.

fairseq puts its configuration together with hydra, from hundreds of overrides: that takes three times as long as the
rest of a tiny training. Here the configuration without overrides is put together once, and each process sets its
overrides in a copy. ``test_quick_config.py`` compares the result with hydra's.
"""

import contextlib
import copy
import dataclasses
import functools
from pathlib import Path
from unittest import mock

import fairseq
import yaml
from fairseq import options
from fairseq.dataclass import utils as config
from fairseq_cli import hydra_train
from hydra import initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, ValueNode, flag_override
from omegaconf._utils import get_yaml_loader
from support.spared import spare

HYDRAS = {name: getattr(config, name) for name in ("compose", "initialize")}


def compose(config_name: str, overrides: list[str], strict: bool) -> DictConfig:
    """Return what hydra's function of this name returns for fairseq's configuration."""
    cfg = _ready.pop() if _ready else copy.deepcopy(_BARE)
    with flag_override(cfg, "no_deepcopy_set_nodes", True):
        for key, value in (override.split("=", 1) for override in overrides):
            *groups, name = key.split(".")
            if not groups:  # the configuration of a task, criterion, optimizer, ...
                cfg[name] = ConfigStore.instance().load(f"{name}/{value}.yaml").node  # a copy
                continue
            section = functools.reduce(DictConfig._get_node, groups, cfg)
            node = section._get_node(name)
            if isinstance(node, ValueNode):
                node._set_value(_parse(value))
            else:
                section[name] = _parse(value)
    return cfg


def hydra_init(cfg_name: str = "config") -> None:
    """Store the schema of a config, as fairseq's function does; those of its sections are stored already."""
    repo = ConfigStore.instance().repo
    repo[f"{cfg_name}.yaml"] = dataclasses.replace(repo["config.yaml"], name=f"{cfg_name}.yaml")


def install() -> None:
    """Let fairseq, and fairseq-hydra-train, put configurations together the quick way in this process."""
    config.compose = compose
    config.initialize = lambda **_: contextlib.nullcontext()  # hydra itself is not asked
    hydra_train.hydra_init = hydra_init
    Hydra.get_mode = lambda *_, **__: RunMode.RUN  # hydra puts all together to find out, and then again to run
    spare()


with initialize_config_dir(str(Path(fairseq.__file__).parent / "config")):
    _BARE = HYDRAS["compose"]("config", overrides=[], strict=False)
OmegaConf.set_struct(_BARE, False)
_parse = functools.cache(functools.partial(yaml.load, Loader=get_yaml_loader()))  # OmegaConf makes a loader a value
_ready: list[DictConfig] = []  # a copy that a forked process need not make


def _warm_up() -> None:
    """Do once what takes longer for the first time, so that it is done before a process is forked."""
    with mock.patch.object(config, "compose", compose):
        args = options.parse_args_and_arch(options.get_training_parser(), ["DATA", "--arch", "transformer"])
        config.convert_namespace_to_omegaconf(args)
    _ready.append(copy.deepcopy(_BARE))


_warm_up()
