"""Spare omegaconf, hydra and torch what they have done before, or what is of no use in the tests."""

import copy
import functools
from typing import Any

import omegaconf
import torch
from fairseq.dataclass import FairseqDataclass
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.grammar_parser import parse

make = OmegaConf.structured
_made = functools.cache(make)
_parsed = functools.cache(parse)


def structured(obj: Any, parent: object = None, flags: dict[str, bool] | None = None) -> DictConfig:
    """Return what OmegaConf.structured returns: of a dataclass, or of its defaults, a copy of what was made before."""
    if isinstance(obj, FairseqDataclass) and parent is None and flags is None and typed(obj) == typed(type(obj)()):
        obj = type(obj)
    if isinstance(obj, type) and parent is None and flags is None:
        return copy.deepcopy(_made(obj))
    return make(obj, parent, flags)


def typed(obj: object) -> list[tuple[str, type, object]]:
    """Return the attributes of an object, so that 1 is not True."""
    return [(name, type(value), value) for name, value in vars(obj).items()]


def spare() -> None:
    """Make a dataclass's config once in this process, and parse a value once. Let hydra read its store where it is.

    Seed the CPU alone where there is no GPU: for one, torch.manual_seed writes down the call stack each time.
    """
    OmegaConf.structured = staticmethod(structured)
    omegaconf.base.parse = omegaconf._utils.parse = _parsed
    ConfigStore.__deepcopy__ = lambda store, _: store
    if not torch.cuda.is_available():
        torch.manual_seed = torch.default_generator.manual_seed
