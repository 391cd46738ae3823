"""Spare omegaconf, hydra and torch what they have done before, or what is of no use in the tests."""

import copy
import dataclasses
import functools
from typing import Any

import omegaconf
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.grammar_parser import parse

make = OmegaConf.structured
_made = functools.cache(make)


def structured(obj: Any, parent: object = None, flags: dict[str, bool] | None = None) -> DictConfig:
    """Return what OmegaConf.structured returns: of a dataclass, or of its defaults, a copy of what was made before."""
    if dataclasses.is_dataclass(obj) and parent is None and flags is None:
        kind = obj if isinstance(obj, type) else type(obj)
        if obj is kind or obj == kind():
            return copy.deepcopy(_made(kind))
    return make(obj, parent, flags)


def spare() -> None:
    """Make a dataclass's config once in this process, and parse a value once. Let hydra read its store where it is.

    Seed the CPU alone where there is no GPU: for one, torch.manual_seed writes down the call stack each time.
    """
    OmegaConf.structured = staticmethod(structured)
    omegaconf.base.parse = omegaconf._utils.parse = functools.cache(parse)
    ConfigStore.__deepcopy__ = lambda store, _: store
    if not torch.cuda.is_available():
        torch.manual_seed = torch.default_generator.manual_seed
