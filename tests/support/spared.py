"""Spare omegaconf, hydra and torch what they have done before, or what is of no use in the tests."""

import copy
import functools
from typing import Any

import omegaconf
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.grammar_parser import parse

make = OmegaConf.structured
_made = functools.cache(make)
_parsed = functools.cache(parse)


def structured(obj: Any, parent: object = None, flags: dict[str, bool] | None = None) -> DictConfig:
    """Return what OmegaConf.structured returns: of a dataclass, or of its defaults, a copy of what was made before."""
    kind = obj if isinstance(obj, type) else type(obj)
    if parent is None and flags is None and (obj is kind or holds_defaults(obj)):
        return copy.deepcopy(_made(kind))
    return make(obj, parent, flags)


def holds_defaults(obj: Any) -> bool:
    """Return whether an object is as its class makes it without arguments, in the types of its attributes too."""
    try:
        one, other = ({name: (type(at), at) for name, at in vars(each).items()} for each in (obj, type(obj)()))
    except TypeError:  # the class needs arguments, or has no attributes
        return False
    return one == other


def spare() -> None:
    """Make a dataclass's config once in this process, and parse a value once. Let hydra read its store where it is.

    Seed the CPU alone where there is no GPU: for one, torch.manual_seed writes down the call stack each time.
    """
    OmegaConf.structured = staticmethod(structured)
    omegaconf.base.parse = omegaconf._utils.parse = _parsed
    ConfigStore.__deepcopy__ = lambda store, _: store
    if not torch.cuda.is_available():
        torch.manual_seed = torch.default_generator.manual_seed
