"""The harmless classes that fairseq's checkpoints hold besides tensors, made loadable with torch's weights_only.

torch >= 2.6 unpickles only what is on its list of safe globals. A fairseq checkpoint holds, besides tensors and
Python's own types, its arguments as an ``argparse.Namespace`` and numpy scalars in its meters; where several processes
resume, the first one sends what it loaded to the others with its configuration as omegaconf's containers. A checkpoint
that holds anything else stays refused.
"""

import argparse
from collections import defaultdict
from typing import Any

import numpy
import torch
from fairseq.distributed.utils import _TensorPlaceholder
from omegaconf import AnyNode, DictConfig, ListConfig
from omegaconf.base import ContainerMetadata, Metadata

_NUMPY_DTYPES = [type(numpy.dtype(name)) for name in ("bool", "int64", "float32", "float64")]
_OMEGACONF = [DictConfig, ListConfig, AnyNode, ContainerMetadata, Metadata, Any]
_NUMPY_FUNCTIONS = {"scalar": numpy.float64().__reduce__()[0], "_reconstruct": numpy.zeros(0).__reduce__()[0]}


def allow_fairseq_checkpoints() -> None:
    """Add the classes to torch's safe globals, numpy's under their names of numpy 1 and of numpy 2."""
    torch.serialization.add_safe_globals([argparse.Namespace, numpy.ndarray, numpy.dtype, *_NUMPY_DTYPES])
    torch.serialization.add_safe_globals(_OMEGACONF + [defaultdict, int, list, dict, _TensorPlaceholder])
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        torch.serialization.add_safe_globals(
            [(function, f"{module}.{name}") for name, function in _NUMPY_FUNCTIONS.items()]  # type: ignore[misc]
        )
