"""Spare omegaconf and hydra the making of what they have made before of fairseq's dataclasses."""

import copy
import functools

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

_make = OmegaConf.structured
_made = functools.cache(_make)


def structured(obj: object, parent: object = None, flags: dict[str, bool] | None = None) -> DictConfig:
    """Return what OmegaConf.structured returns: of a class a copy, which takes a quarter of the time."""
    if isinstance(obj, type) and parent is None and flags is None:
        return copy.deepcopy(_made(obj))
    return _make(obj, parent, flags)


def share_structures() -> None:
    """Make a dataclass's config once in this process. Let hydra read the store of them where it is, not in a copy."""
    OmegaConf.structured = staticmethod(structured)
    ConfigStore.__deepcopy__ = lambda store, _: store
