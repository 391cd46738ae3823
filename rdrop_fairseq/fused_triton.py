"""The elementwise block of ``fused.py`` on a GPU, for two passes: one kernel, which reads the logits twice.

It needs torch and triton, which PyTorch's CUDA builds bring along. The first reading computes, for each token, the
maxima and sums of both softmaxes together (Milakov and Gimelshein, 2018, arXiv 1805.02867), and with them the sums of
the divergence; for ``bhattacharyya`` these are the maximum and sum of a third softmax, that of the mean of the logits.
The second reading computes the gradient and writes it over the logits. Nothing else goes to memory. In float16 the
kernel runs twice, because the factor by which the gradient is multiplied (see ``fused.py``) depends on all tokens: the
first run finds each token's largest element, and the second run writes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rdrop_fairseq.divergence import KL_DIVERGENCES, float16_factor, pair_weights
from rdrop_fairseq.fused_torch import Facts, Settings

BLOCK = 4096  # words that a program takes at once


def supports(dtype: torch.dtype, passes: int, kind: str) -> bool:
    """Return whether the kernel serves logits of this type, this number of passes and this divergence."""
    return passes == 2 and kind in (*KL_DIVERGENCES, "bhattacharyya") and dtype != torch.float64


def loss_and_gradient(logits: Tensor, target: Tensor, settings: Settings, facts: Facts) -> Tensor | None:
    """Do what ``fused_torch.loss_and_gradient`` does, for logits ``[N, 2, V]`` and contiguous facts ``[N, 2]``."""
    by_mean = settings.kind == "bhattacharyya"
    (_, to_second), (to_first, _) = pair_weights(2, "symmetric" if by_mean else settings.kind)
    tokens, _, vocab = logits.shape
    if not tokens:
        return None
    scaled = settings.with_grad and logits.dtype == torch.float16
    factor = largest = logits.new_empty(tokens if scaled else 1, dtype=torch.float32)

    def launch(**mode: bool) -> None:
        _kernel[(tokens,)](
            logits, target, facts.log_sum, facts.target_logit, facts.divergence, largest, factor,
            vocab, to_second, to_first, float(settings.alpha), settings.at_target, *settings.pass_weights,
            scaled=scaled, by_mean=by_mean, block=min(BLOCK, triton.next_power_of_2(vocab)), num_warps=8, **mode,
        )  # fmt: skip

    with torch.cuda.device_of(logits):  # Triton launches on the current device
        launch(with_facts=True, with_grad=settings.with_grad, with_writing=not scaled)
        if not scaled:
            return None
        factor = float16_factor(largest)
        launch(with_facts=False, with_grad=True, with_writing=True)
    return factor


@triton.jit
def _kernel(  # type: ignore[no-untyped-def]  # Triton has types of its own
    logits, target, log_sum, target_logit, divergence, largest, factor,
    vocab, w01, w10, alpha, at_target, task0, task1,
    scaled: tl.constexpr, by_mean: tl.constexpr, block: tl.constexpr,
    with_facts: tl.constexpr, with_grad: tl.constexpr, with_writing: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    first = logits + token * 2 * vocab
    second = first + vocab
    columns = tl.arange(0, block)
    word = tl.load(target + token)
    column0, column1 = w10 - w01, w01 - w10  # sums of the columns of W

    if with_facts:
        # Before the sums: their barriers keep a fast warp from writing over the target's logit before it is read.
        tl.store(target_logit + 2 * token, tl.load(first + word).to(tl.float32))
        tl.store(target_logit + 2 * token + 1, tl.load(second + word).to(tl.float32))

        # One number a line: within an if, Triton 3.3 does not take several in one line.
        max0 = float("-inf")
        max1 = float("-inf")
        sum0 = 0.0  # of exp(z - max)
        sum1 = 0.0
        gap0 = 0.0  # of exp(z - max) * (z1 - z0); with by_mean, gap0 is the sum of exp(mean - max_mean)
        gap1 = 0.0
        max_mean = float("-inf")
        for start in range(0, vocab, block):
            inside = start + columns < vocab
            z0 = tl.load(first + start + columns, mask=inside, other=float("-inf")).to(tl.float32)
            z1 = tl.load(second + start + columns, mask=inside, other=float("-inf")).to(tl.float32)
            gap = tl.where(inside, z1 - z0, 0.0)
            new0, new1 = tl.maximum(max0, tl.max(z0, 0)), tl.maximum(max1, tl.max(z1, 0))
            e0, e1 = tl.exp(z0 - new0), tl.exp(z1 - new1)
            keep0, keep1 = tl.exp(max0 - new0), tl.exp(max1 - new1)
            sum0, sum1 = sum0 * keep0 + tl.sum(e0, 0), sum1 * keep1 + tl.sum(e1, 0)
            if by_mean:
                mean = z0 / 2 + z1 / 2
                new_mean = tl.maximum(max_mean, tl.max(mean, 0))
                gap0 = gap0 * tl.exp(max_mean - new_mean) + tl.sum(tl.exp(mean - new_mean), 0)
                max_mean = new_mean
            else:
                gap0 = gap0 * keep0 + tl.sum(e0 * gap, 0)
                gap1 = gap1 * keep1 + tl.sum(e1 * gap, 0)
            max0, max1 = new0, new1
        lse0, lse1 = max0 + tl.log(sum0), max1 + tl.log(sum1)
        tl.store(log_sum + 2 * token, lse0)
        tl.store(log_sum + 2 * token + 1, lse1)
        if by_mean:
            # Both passes hold the half of the distance, (lse0 + lse1) / 2 - lse_mean, and so do the shares.
            share0 = (lse0 / 2 + lse1 / 2 - (max_mean + tl.log(gap0))) / 2
            share1 = share0
            tl.store(divergence + 2 * token, share0)
            tl.store(divergence + 2 * token + 1, share1)
        else:
            share0 = w01 * gap0 / sum0  # p . r
            share1 = -w10 * gap1 / sum1
            tl.store(divergence + 2 * token, share0 - column0 * lse0)
            tl.store(divergence + 2 * token + 1, share1 - column1 * lse1)
    else:
        lse0, lse1 = tl.load(log_sum + 2 * token), tl.load(log_sum + 2 * token + 1)
        share0, share1 = tl.load(divergence + 2 * token), tl.load(divergence + 2 * token + 1)
        if not by_mean:
            share0 += column0 * lse0
            share1 += column1 * lse1

    if with_grad:
        if by_mean:
            lse_mean = lse0 / 2 + lse1 / 2 - 2 * share0
            own0 = task0 + alpha / 2
            own1 = task1 + alpha / 2
        else:
            lse_mean = 0.0
            own0 = task0 - alpha * (share0 + column0 + w01)
            own1 = task1 - alpha * (share1 + column1 + w10)
        scale = 1.0
        if with_writing and scaled:
            scale = tl.load(factor)
        highest = 0.0
        for start in range(0, vocab, block):
            inside = start + columns < vocab
            z0 = tl.load(first + start + columns, mask=inside, other=0.0).to(tl.float32)
            z1 = tl.load(second + start + columns, mask=inside, other=0.0).to(tl.float32)
            p0, p1 = tl.exp(z0 - lse0), tl.exp(z1 - lse1)
            minus = tl.where(start + columns == word, at_target, 0.0)
            if by_mean:
                part = alpha / 2 * tl.exp(z0 / 2 + z1 / 2 - lse_mean)
                g0 = p0 * own0 - part - task0 * minus
                g1 = p1 * own1 - part - task1 * minus
            else:
                gap = z1 - z0
                g0 = p0 * (own0 + alpha * w01 * gap) + alpha * w10 * p1 - task0 * minus
                g1 = p1 * (own1 - alpha * w10 * gap) + alpha * w01 * p0 - task1 * minus
            if with_writing:
                tl.store(first + start + columns, (g0 * scale).to(logits.dtype.element_ty), mask=inside)
                tl.store(second + start + columns, (g1 * scale).to(logits.dtype.element_ty), mask=inside)
            else:
                g = tl.where(inside, tl.maximum(tl.abs(g0), tl.abs(g1)), 0.0)
                highest = tl.maximum(highest, tl.max(g, 0))
        if not with_writing:
            tl.store(largest + token, highest)
