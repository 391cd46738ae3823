"""The divergence between the output distributions of M passes, with its gradient in closed form.

Every KL-type divergence here, averaged over the pairs of passes, is bilinear in the probabilities ``p_i`` and the
log-probabilities ``l_i`` of the passes: ``D = sum_i p_i . r_i`` with ``r_i = sum_j W[i][j] (l_j - l_i)``, where ``.``
sums over the vocabulary and the rows of ``W`` sum to zero. So ``dD/dl_i = p_i r_i + sum_j W[j][i] p_j``, and neither
value nor gradient needs a second softmax or a tensor kept besides the log-probabilities themselves. The Jensen-Shannon
divergence has ``log m - l_i`` in place of ``l_j - l_i``, and the second term of its gradient vanishes.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

DIVERGENCES = ("symmetric", "forward", "reverse", "js")

# Elements worked on at once: the temporaries stay small beside the log-probabilities, and on a CPU stay in its caches.
_CHUNK = 1 << 20


def divergence(lprobs: Tensor, kind: str = "symmetric") -> Tensor:
    """The divergence between M distributions at each position, averaged over the pairs of passes.

    For a pair ``i < j`` with ``KL(p || q) = sum_v p_v (log p_v - log q_v)``:

    - ``symmetric``: ``1/2 [KL(p_i || p_j) + KL(p_j || p_i)]`` (Liang et al., 2021, eq. 2)
    - ``forward``: ``KL(p_i || p_j)``; ``reverse``: ``KL(p_j || p_i)``
    - ``js``: ``1/2 [KL(p_i || m) + KL(p_j || m)]`` with ``m = (p_i + p_j) / 2`` (Lin, 1991)

    Args:
        lprobs: log-probabilities (a log-softmax) in any floating dtype, of shape ``[M, ..., V]`` with M >= 2 passes.
            A word of probability 0 in all passes contributes nothing.
        kind: one of ``DIVERGENCES``.

    Returns:
        Tensor ``[...]`` in nats, in float32 (float64 for float64), differentiable once by ``lprobs``. It is infinite
        where KL is: where a word is possible in one pass of a pair and impossible in the other.

    Raises:
        ValueError: if ``kind`` is unknown, or ``lprobs`` does not hold at least two passes.
        RuntimeError: in a backward that is to be differentiated again (``create_graph=True``).
    """
    if kind not in DIVERGENCES:
        raise ValueError(f"divergence {kind!r}: must be one of {', '.join(DIVERGENCES)}")
    if lprobs.dim() < 2 or lprobs.size(0) < 2:
        raise ValueError(f"lprobs of shape {list(lprobs.shape)}: must be [M, ..., V] with at least 2 passes")
    passes, *positions, vocab = lprobs.shape
    value: Tensor = _Divergence.apply(lprobs.reshape(passes, -1, vocab), kind)
    return value.view(positions)


class _Divergence(torch.autograd.Function):
    """Log-probabilities ``[M, N, V]`` to the divergence ``[N]``; keeps its input alone for backward."""

    @staticmethod
    def forward(ctx: Any, lprobs: Tensor, kind: str) -> Tensor:
        ctx.save_for_backward(lprobs)
        ctx.kind = kind
        value = lprobs.new_empty(lprobs.size(1), dtype=_accumulation_dtype(lprobs))
        for rows in _chunks(lprobs):
            part = lprobs[:, rows].to(value.dtype)
            probs = part.exp()
            value[rows] = _weighted(log_ratios(part, kind), probs).sum(dim=(0, 2))
        return value

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():
            raise RuntimeError("the divergence can be differentiated once only")
        (lprobs,) = ctx.saved_tensors
        grad = torch.empty_like(lprobs)
        for rows in _chunks(lprobs):
            part = lprobs[:, rows].to(grad_output.dtype)
            grad[:, rows] = gradient(part, part.exp(), ctx.kind).mul_(grad_output[rows].unsqueeze(-1))
        return grad, None


def log_ratios(lprobs: Tensor, kind: str) -> Tensor:
    """``r [M, N, V]`` of the module's first lines, from log-probabilities ``[M, N, V]``; of no meaning where p is 0."""
    weights = _pair_weights(lprobs.size(0), kind)
    ratios = torch.zeros_like(lprobs)
    for i, row in enumerate(weights):
        for j, weight in enumerate(row):
            if i != j and weight:
                gap = lprobs[j] - lprobs[i]  # taken first, so that it is exactly 0 where they are equal
                if kind == "js":  # log m - l_i = log(1 + p_j / p_i) - log 2
                    gap = torch.nn.functional.softplus(gap).sub_(math.log(2))
                ratios[i].add_(gap, alpha=weight)
    return ratios


def gradient(lprobs: Tensor, probs: Tensor, kind: str) -> Tensor:
    """Gradient ``[M, N, V]`` of the divergence by the log-probabilities ``[M, N, V]``, each taken as free variables."""
    grad = _weighted(log_ratios(lprobs, kind), probs)
    if kind != "js":
        weights = _pair_weights(lprobs.size(0), kind)
        for i in range(len(weights)):
            grad[i].add_(_combine([row[i] for row in weights], probs))
    return grad


def _pair_weights(passes: int, kind: str) -> list[list[float]]:
    """The matrix W of the module's first lines."""
    pairs = passes * (passes - 1) / 2
    weights = [[0.0] * passes for _ in range(passes)]
    for i in range(passes):
        for j in range(i + 1, passes):
            if kind != "reverse":  # KL(p_i || p_j)
                weights[i][i] += 1 / pairs
                weights[i][j] -= 1 / pairs
            if kind != "forward":  # KL(p_j || p_i)
                weights[j][j] += 1 / pairs
                weights[j][i] -= 1 / pairs
    if kind in ("symmetric", "js"):
        weights = [[weight / 2 for weight in row] for row in weights]
    return weights


def _weighted(ratios: Tensor, probs: Tensor) -> Tensor:
    """``p * r`` in place of the ratios, 0 where p is 0: there the ratio may be infinite, or the difference of two."""
    return ratios.mul_(probs).masked_fill_(probs == 0, 0)


def _combine(weights: list[float], tensors: Tensor) -> Tensor:
    """``sum_j weights[j] * tensors[j]``."""
    total = torch.zeros_like(tensors[0])
    for weight, tensor in zip(weights, tensors, strict=True):
        if weight:
            total.add_(tensor, alpha=weight)
    return total


def _accumulation_dtype(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _chunks(lprobs: Tensor) -> Iterator[slice]:
    passes, positions, vocab = lprobs.shape
    step = max(1, _CHUNK // max(1, passes * vocab))
    return (slice(start, start + step) for start in range(0, positions, step))
