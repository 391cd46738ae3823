"""The elementwise work of fused.py on a GPU, for two passes: one kernel that reads the logits twice and writes once.

Needs torch and triton, which PyTorch's CUDA builds bring. The first reading takes, of each token, both softmaxes'
maxima and sums as it goes (Milakov and Gimelshein, 2018, arXiv 1805.02867) and the divergence's sums with them; the
second computes the gradient and writes it over the logits. In between nothing goes to memory.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rdrop_fairseq.divergence import pair_weights

_BLOCK = 4096


def supports(logits: Tensor, kind: str) -> bool:
    """Whether the kernel serves these logits ``[N, M, V]`` and this divergence."""
    return logits.size(1) == 2 and kind != "js" and logits.dtype != torch.float64


def loss_and_gradient(logits: Tensor, target: Tensor, settings: Any, scale: float, facts: Any) -> None:
    """As ``fused._loss_and_gradient``, for logits ``[N, 2, V]`` and facts ``[N, 2]`` that lie contiguous in memory."""
    (_, to_second), (to_first, _) = pair_weights(2, settings.kind)
    tokens, _, vocab = logits.shape
    if not tokens:
        return
    _kernel[(tokens,)](
        logits, target, facts.log_sum, facts.target_logit, facts.divergence,
        vocab, to_second, to_first, float(settings.alpha), settings.at_target, scale,
        with_grad=settings.with_grad, block=min(_BLOCK, triton.next_power_of_2(vocab)), num_warps=8,
    )  # fmt: skip


@triton.jit
def _kernel(  # type: ignore[no-untyped-def]  # Triton has types of its own
    logits, target, log_sum, target_logit, divergence,
    vocab, w01, w10, alpha, at_target, scale,
    with_grad: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    first = logits + token * 2 * vocab
    second = first + vocab
    columns = tl.arange(0, block)

    word = tl.load(target + token)
    # Before the sums, whose barriers keep a quick warp from writing over it.
    tl.store(target_logit + 2 * token, tl.load(first + word).to(tl.float32))
    tl.store(target_logit + 2 * token + 1, tl.load(second + word).to(tl.float32))

    max0, max1 = float("-inf"), float("-inf")
    sum0, sum1 = 0.0, 0.0  # of exp(z - max)
    gap0, gap1 = 0.0, 0.0  # of exp(z - max) * (z1 - z0)
    for start in range(0, vocab, block):
        inside = start + columns < vocab
        z0 = tl.load(first + start + columns, mask=inside, other=float("-inf")).to(tl.float32)
        z1 = tl.load(second + start + columns, mask=inside, other=float("-inf")).to(tl.float32)
        gap = tl.where(inside, z1 - z0, 0.0)
        new0, new1 = tl.maximum(max0, tl.max(z0, 0)), tl.maximum(max1, tl.max(z1, 0))
        e0, e1 = tl.exp(z0 - new0), tl.exp(z1 - new1)
        keep0, keep1 = tl.exp(max0 - new0), tl.exp(max1 - new1)
        sum0, sum1 = sum0 * keep0 + tl.sum(e0, 0), sum1 * keep1 + tl.sum(e1, 0)
        gap0, gap1 = gap0 * keep0 + tl.sum(e0 * gap, 0), gap1 * keep1 + tl.sum(e1 * gap, 0)
        max0, max1 = new0, new1
    lse0, lse1 = max0 + tl.log(sum0), max1 + tl.log(sum1)
    share0, share1 = w01 * gap0 / sum0, -w10 * gap1 / sum1  # p . r
    column0, column1 = w10 - w01, w01 - w10  # sums of the columns of W

    tl.store(log_sum + 2 * token, lse0)
    tl.store(log_sum + 2 * token + 1, lse1)
    tl.store(divergence + 2 * token, share0 - column0 * lse0)
    tl.store(divergence + 2 * token + 1, share1 - column1 * lse1)
    if with_grad:
        own0 = 1 - alpha * (share0 + column0 + w01)
        own1 = 1 - alpha * (share1 + column1 + w10)
        for start in range(0, vocab, block):
            inside = start + columns < vocab
            z0 = tl.load(first + start + columns, mask=inside, other=0.0).to(tl.float32)
            z1 = tl.load(second + start + columns, mask=inside, other=0.0).to(tl.float32)
            p0, p1 = tl.exp(z0 - lse0), tl.exp(z1 - lse1)
            gap = z1 - z0
            minus = tl.where(start + columns == word, at_target, 0.0)
            g0 = p0 * (own0 + alpha * w01 * gap) + alpha * w10 * p1 - minus
            g1 = p1 * (own1 - alpha * w10 * gap) + alpha * w01 * p0 - minus
            tl.store(first + start + columns, (g0 * scale).to(logits.dtype.element_ty), mask=inside)
            tl.store(second + start + columns, (g1 * scale).to(logits.dtype.element_ty), mask=inside)
