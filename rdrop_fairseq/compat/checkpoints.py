"""Let fairseq's checkpoints load with torch's ``weights_only``, which is the default since torch 2.6.

With ``weights_only``, torch unpickles only the classes on its list of safe globals. Besides tensors and Python's own
types, a fairseq checkpoint holds its arguments as an ``argparse.Namespace`` and numpy scalars in its meters. When
several processes resume, the first one loads the checkpoint and sends it to the others, with its configuration as
omegaconf's containers. All these classes are harmless. A checkpoint that holds anything else is still refused.
"""

import argparse
from collections import defaultdict
from typing import Any

import numpy
import torch
from fairseq.distributed.utils import _TensorPlaceholder
from fairseq.models.transformer import TransformerConfig
from omegaconf import AnyNode, DictConfig, ListConfig
from omegaconf.base import ContainerMetadata, Metadata

_NUMPY_DTYPES = [type(numpy.dtype(name)) for name in ("bool", "int64", "float32", "float64")]
_OMEGACONF = [DictConfig, ListConfig, AnyNode, ContainerMetadata, Metadata, Any]
_NUMPY_FUNCTIONS = {"scalar": numpy.float64().__reduce__()[0], "_reconstruct": numpy.zeros(0).__reduce__()[0]}


def let_bart_load() -> None:
    """Let a checkpoint of BART load where the settings of the model do not name the task, as in a config for hydra.

    fairseq's BART asks its own settings for the task, to find out whether it is ``multilingual_denoising``.
    """
    TransformerConfig.task = ""


def allow_fairseq_checkpoints() -> None:
    """Add the classes to torch's safe globals. numpy's functions are added under their names in numpy 1 and numpy 2."""
    torch.serialization.add_safe_globals([argparse.Namespace, numpy.ndarray, numpy.dtype, *_NUMPY_DTYPES])
    torch.serialization.add_safe_globals(_OMEGACONF + [defaultdict, int, list, dict, _TensorPlaceholder])
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        torch.serialization.add_safe_globals(
            [(function, f"{module}.{name}") for name, function in _NUMPY_FUNCTIONS.items()]  # type: ignore[misc]
        )
