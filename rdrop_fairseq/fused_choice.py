"""Which elementwise block ``fused.py`` uses: the GPU kernel where it serves and runs, otherwise torch's own."""

import functools
import warnings
from typing import Any

import torch

from rdrop_fairseq import fused_torch
from rdrop_fairseq.fused_torch import Facts, Settings


@functools.cache
def choose_elementwise(device: torch.device, dtype: torch.dtype, passes: int, kind: str) -> Any:
    """Return the module of the elementwise block: the GPU kernel where it serves and runs, otherwise torch's own."""
    kernel = triton_kernel() if device.type == "cuda" else None
    if kernel is not None and kernel.supports(dtype, passes, kind) and runs(device, dtype):
        return kernel
    return fused_torch


@functools.cache
def triton_kernel() -> Any:
    """Return the module of the kernel, or None where Triton is not installed."""
    try:
        from rdrop_fairseq import fused_triton
    except ImportError:
        return None
    return fused_triton


@functools.cache
def runs(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether the kernel compiles and runs on the device, by trying it on one token; warn where it does not.

    Triton compiles on the machine itself, which may have no C compiler, or a GPU that Triton does not know.
    """
    kernel = triton_kernel()
    logits = torch.zeros(1, 2, kernel.BLOCK, dtype=dtype, device=device)
    facts = torch.zeros(len(Facts._fields), 1, 2, device=device)
    settings = Settings(1.0, 1.0, 0.0, "symmetric", True, dtype, (1.0, 1.0))
    try:
        kernel.loss_and_gradient(logits, facts.new_zeros(1, dtype=torch.long), settings, Facts(*facts))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton, its compilers and the driver each have exceptions of their own
        reason = " ".join(str(error).split())[:200]
        warnings.warn(f"R-Drop's GPU kernel does not run here, torch's own operations do: {reason}", stacklevel=2)
        return False
    return True
