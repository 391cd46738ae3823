"""The divergence between the output distributions of M passes, with its gradient in closed form.

Every KL-type divergence here, averaged over the pairs of passes, is bilinear in the probabilities ``p_i`` and the
log-probabilities ``l_i`` of the passes: ``D = sum_i p_i . r_i`` with ``r_i = sum_j W[i][j] (l_j - l_i)``, where ``.``
sums over the vocabulary and the rows of ``W`` sum to zero. So ``dD/dl_i = p_i r_i + sum_j W[j][i] p_j``. Neither value
nor gradient needs a second softmax, and backward needs no other tensor than the log-probabilities. The Jensen-Shannon
divergence has ``log m - l_i`` in place of ``l_j - l_i``, and the second term of its gradient is zero.

The Bhattacharyya distance is no such sum, but its gradient is as simple: see `bhattacharyya`.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

KL_DIVERGENCES = ("symmetric", "forward", "reverse")  # weighted sums of KL(p_i || p_j): see `pair_weights`
DIVERGENCES = (*KL_DIVERGENCES, "js", "bhattacharyya")

# How many positions of lprobs are checked, and how far their sums of probabilities may be from 1.
_SAMPLES, _TOLERANCE = 8, 0.2

# Elements that are worked on at once, so that the temporaries stay small beside the log-probabilities. On a CPU they
# stay in its caches; on a GPU there must be enough of them to be worth the launch of an operation.
_CHUNK = {"cpu": 1 << 20, "cuda": 1 << 25}


def divergence(lprobs: Tensor, kind: str = "symmetric", check: bool = True) -> Tensor:
    """Return the divergence between M distributions at each position, averaged over the pairs of passes.

    For a pair ``i < j`` with ``KL(p || q) = sum_v p_v (log p_v - log q_v)``:

    - ``symmetric``: ``1/2 [KL(p_i || p_j) + KL(p_j || p_i)]`` (Liang et al., 2021, eq. 2)
    - ``forward``: ``KL(p_i || p_j)``; ``reverse``: ``KL(p_j || p_i)``
    - ``js``: ``1/2 [KL(p_i || m) + KL(p_j || m)]`` with ``m = (p_i + p_j) / 2`` (Lin, 1991)
    - ``bhattacharyya``: ``-log sum_v sqrt(p_i,v p_j,v)`` (Bhattacharyya, 1943), which equals
      ``1/2 [KL(m || p_i) + KL(m || p_j)]`` with ``m`` the softmax of the mean of the logits, as in Cutoff (Shen et al.,
      2020). The distributions are normalized first, so this one takes logits too (with ``check=False``).

    Args:
        lprobs: log-probabilities (a log-softmax) in any floating dtype, of shape ``[M, ..., V]`` with M >= 2 passes.
            A word of probability 0 in all passes contributes nothing. A position that the caller leaves out of the
            loss gets gradient 0, whatever it holds.
        kind: one of ``DIVERGENCES``.
        check: check at a few positions of the first pass that they hold distributions. On a GPU this waits for it.

    Returns:
        Tensor ``[...]`` in nats, in float32 (float64 for float64), differentiable once by ``lprobs``. KL is infinite
        where a word is possible in one pass of a pair and impossible in the other, and ``bhattacharyya`` where this
        holds for every word.

    Raises:
        ValueError: if ``kind`` is unknown, if ``lprobs`` holds fewer than two passes or has V = 0, or if none of the
            checked positions holds a distribution (they are logits, for example).
        RuntimeError: in a backward with ``create_graph=True``, which would have to be differentiated a second time.
    """
    if kind not in DIVERGENCES:
        raise ValueError(f"divergence {kind!r}: must be one of {', '.join(DIVERGENCES)}")
    if lprobs.dim() < 2 or lprobs.size(0) < 2:
        raise ValueError(f"lprobs of shape {list(lprobs.shape)}: must be [M, ..., V] with at least 2 passes")
    positions = lprobs.shape[1:-1]
    if not lprobs.size(-1):
        raise ValueError(f"lprobs of shape {list(lprobs.shape)}: must be [M, ..., V] with V > 0")
    flat = lprobs.flatten(1, -2) if positions else lprobs.unsqueeze(1)
    if check and positions.numel() and not torch.compiler.is_compiling():
        _refuse_logits(flat)
    value: Tensor = _Divergence.apply(flat, kind)
    return value.view(positions)


def _refuse_logits(lprobs: Tensor) -> None:
    """Raise ``ValueError`` unless the probabilities sum to 1 at one of a few positions of ``lprobs [M, N, V]``."""
    some = lprobs.detach()[0, :: math.ceil(lprobs.size(1) / _SAMPLES)]
    sums = some.to(accumulation_dtype(some)).exp().sum(-1)
    wrong = (sums - 1).abs() > _TOLERANCE  # False where the sum is NaN
    wrong &= some.amax(-1) > some.amin(-1)  # a position that is masked with one number tells nothing
    if wrong.all():
        raise ValueError(
            f"lprobs: the probabilities at a position sum up to {sums[0].item():.3g} instead of 1: must be "
            "log-probabilities; of logits take log_softmax(-1) first"
        )


class _Divergence(torch.autograd.Function):
    """From log-probabilities ``[M, N, V]`` to the divergence ``[N]``; only the input is kept for backward."""

    @staticmethod
    def forward(ctx: Any, lprobs: Tensor, kind: str) -> Tensor:
        ctx.save_for_backward(lprobs)
        ctx.kind = kind
        value = lprobs.new_empty(lprobs.size(1), dtype=accumulation_dtype(lprobs))
        for rows in _chunks(lprobs):
            part = lprobs[:, rows].to(value.dtype)
            if kind == "bhattacharyya":
                value[rows] = bhattacharyya(part, part.logsumexp(-1), torch.empty_like(part))
            else:
                probs, ratios = _probs_and_ratios(part, kind)
                value[rows] = ratios.mul_(probs).sum(dim=(0, 2))
        return value

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():
            raise RuntimeError("the divergence can be differentiated once only")
        (lprobs,) = ctx.saved_tensors
        grad = torch.empty_like(lprobs)
        left_out = grad_output.eq(0)
        some_left_out = lprobs.is_cuda or bool(left_out.any())  # on a GPU asking costs more than filling
        for rows in _chunks(lprobs):
            part = lprobs[:, rows].to(grad_output.dtype)
            if ctx.kind == "bhattacharyya":
                means = torch.empty_like(part)
                bhattacharyya(part, part.logsumexp(-1), means)
                part = part.softmax(-1).sub_(means).div_(len(part))
            else:
                probs, ratios = _probs_and_ratios(part, ctx.kind)
                part = gradient(ratios, probs, ctx.kind, out=ratios)
            part.mul_(grad_output[rows].unsqueeze(-1))
            if some_left_out:  # 0 times an infinite gradient is not 0
                part.masked_fill_(left_out[rows].unsqueeze(-1), 0)
            grad[:, rows] = part
        return grad, None


def _probs_and_ratios(lprobs: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Return ``p`` and ``r``, with 0 for ``r`` where p is 0, as it may be infinite or no number there."""
    probs = lprobs.exp()
    ratios = log_ratios(lprobs, kind, out=torch.empty_like(lprobs))
    return probs, ratios.masked_fill_(probs == 0, 0)


def log_ratios(lprobs: Tensor, kind: str, out: Tensor) -> Tensor:
    """Write ``r`` of the module's first lines to ``out`` and return it; where p is 0 it is finite if the logits are.

    ``lprobs`` and ``out`` are ``[M, N, V]``. ``lprobs`` may be logits, except for ``js``: ``r`` is then wrong by a
    constant at each position.
    """
    weights = pair_weights(len(lprobs), kind)
    for i in range(len(weights)):
        for j in range(i + 1, len(weights)):
            gap = lprobs[j] - lprobs[i]  # computed first, so that it is exactly 0 where they are equal
            for this, other, sign in ((i, j, 1), (j, i, -1)):
                weight = weights[this][other]
                if kind == "js":  # log m - l_i = log(1 + p_j / p_i) - log 2
                    term = torch.nn.functional.softplus(sign * gap).sub_(math.log(2))
                else:
                    term, weight = gap, sign * weight
                is_first = other == (1 if this == 0 else 0)
                if is_first and weight:
                    torch.mul(term, weight, out=out[this])
                elif is_first:
                    out[this].zero_()  # where the gap is infinite, 0 times it is not 0
                elif weight:
                    out[this].add_(term, alpha=weight)
    return out


def gradient(
    ratios: Tensor, probs: Tensor, kind: str, out: Tensor, alpha: float = 1.0, constant: Tensor | float = 0.0
) -> Tensor:
    """Write ``alpha`` times the gradient plus ``constant * p`` to ``out`` and return it.

    The gradient is that of the divergence by the log-probabilities as free variables. All tensors are ``[M, N, V]``,
    ``constant`` may also be ``[M, N, 1]``; ``out`` may be the tensor of the ratios.
    """
    weights = pair_weights(len(probs), kind)
    if kind == "js":
        weights = [[0.0] * len(row) for row in weights]
    own = ratios.new_tensor([weights[i][i] for i in range(len(weights))]).view(-1, 1, 1)
    torch.add(constant + alpha * own, ratios, alpha=alpha, out=out).mul_(probs)
    for i, row in enumerate(weights):
        for j, weight in enumerate(row):
            if weight and i != j:
                out[j].add_(probs[i], alpha=alpha * weight)
    return out


def bhattacharyya(logits: Tensor, log_sums: Tensor, out: Tensor) -> Tensor:
    """Return the Bhattacharyya distance ``[N]``, averaged over the pairs of passes, and write what its gradient needs.

    With ``m_ij = softmax((z_i + z_j) / 2)`` the distance of a pair is ``1/2 (lse z_i + lse z_j)`` minus
    ``lse((z_i + z_j) / 2)``, and its gradient by ``z_i`` is ``1/2 (p_i - m_ij)``. So the gradient of the mean over
    pairs is ``1/M [p_i - mean_j m_ij]``, and this mean is what is written.

    Args:
        logits: ``[M, N, V]``.
        log_sums: ``[M, N]``, the log-sum-exp of the logits.
        out: the mean over j of ``m_ij`` for each pass i, ``[M, N, V]``; other memory than that of the logits.
    """
    passes = len(logits)
    out.zero_()
    value = torch.zeros_like(log_sums[0])
    for i in range(passes):
        for j in range(i + 1, passes):
            mean = torch.add(logits[i], logits[j]).div_(2)
            log_sum = mean.logsumexp(-1)
            mean.sub_(log_sum.unsqueeze(-1)).exp_()
            for this in (i, j):
                out[this].add_(mean, alpha=1 / (passes - 1))
            value += (log_sums[i] + log_sums[j]) / 2 - log_sum
    return value / (passes * (passes - 1) / 2)


def pair_weights(passes: int, kind: str) -> list[list[float]]:
    """Return the matrix W of the module's first lines."""
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


def accumulation_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype in which sums over the tensor are taken: float32, or float64 for float64."""
    return torch.promote_types(tensor.dtype, torch.float32)


def float16_factor(grad: Tensor) -> Tensor:
    """Return the factor ``[1]``, in float32, that makes the largest absolute value 2^15: half of what float16 holds.

    The factor is at most 2^79. So a gradient of 0 stays 0, and what is lost is too small for any loss scale to keep.
    """
    return 2.0**15 / grad.abs().amax().clamp_min(2.0**-64).view(1)


def _chunks(lprobs: Tensor) -> Iterator[slice]:
    """Return the slices of positions to work on one after the other."""
    passes, positions, vocab = lprobs.shape
    limit = _CHUNK["cuda" if lprobs.is_cuda else "cpu"]
    step = max(1, limit // max(1, passes * vocab))
    return (slice(start, start + step) for start in range(0, positions, step))
