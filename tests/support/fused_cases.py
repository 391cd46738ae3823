"""Hidden states, weights and targets for the fused loss, the plain loss of the same, and float16 with both."""

import math
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from rdrop_fairseq import fused, fused_torch
from rdrop_fairseq.divergence import DIVERGENCES, divergence
from rdrop_fairseq.fused import linear_rdrop_loss

PAD = 1


def fused_loss(hidden, *args, ignore_index=-100, **options):
    """Return the fused loss of hidden states ``[M, ..., D]`` as the criterions call it: fairseq's smoothing, sums."""
    options = {"label_smoothing_impl": "fairseq", "reduction": "sum", "ignore_index": ignore_index} | options
    joined = hidden.flatten(0, 1) if hidden.dim() > 2 else tuple(hidden)
    return linear_rdrop_loss(joined, *args, passes=len(hidden), **options)


@contextmanager
def sizes(tokens_in_chunk, tokens_in_block, numbers):
    """Let a chunk and a block hold a given number of tokens, each with a given number of logits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "_CHUNK", dict.fromkeys(("cpu", "cuda"), tokens_in_chunk * numbers))
        patch.setattr(fused_torch, "BLOCK", dict.fromkeys(("cpu", "cuda"), tokens_in_block * numbers))
        yield


def leaves(passes=2, shape=(3, 5), width=7, vocab=11, bias=False, dtype=torch.float64, seed=0):
    """Random hidden states, weights, bias or None, and a target a fifth of which is padding."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    hidden, weight = draw(passes, *shape, width), draw(vocab, width)
    target = torch.randint(vocab, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < 0.2] = PAD
    return hidden, weight, draw(vocab) if bias else None, target


def plain(hidden, weight, bias, target, alpha=5.0, epsilon=0.1, kind="symmetric", dtype=torch.float32):
    """Return the loss as the plain path has it, in vectorised torch: all logits, one log-softmax."""
    lprobs = F.linear(hidden, weight, bias).to(dtype).log_softmax(-1)
    nll_loss = -lprobs.gather(-1, target.expand(lprobs.shape[:-1]).unsqueeze(-1)).squeeze(-1)
    epsilon = epsilon if lprobs.size(-1) > 1 else 0.0
    uniform = epsilon / max(1, lprobs.size(-1) - 1)
    loss = (1 - epsilon - uniform) * nll_loss - uniform * lprobs.sum(-1)
    return (loss.sum(0) + alpha * divergence(lprobs, kind))[target != PAD].sum()


def grads(loss, *tensors):
    return torch.autograd.grad(loss, [tensor for tensor in tensors if tensor is not None])


def float16_gradients(way, factor, hidden, weight, target, alpha, kind, autocast, epsilon=0.1):
    """Return the gradients of ``factor`` times the loss, in float16 or under autocast: "fused", "plain" or "exact"."""
    dtype = torch.float64 if way == "exact" else torch.float32 if autocast else torch.float16
    leaf = [x.to(torch.float16).to(dtype).requires_grad_() for x in (hidden, weight)]
    with torch.autocast("cpu", dtype=torch.float16, enabled=autocast and way != "exact"):
        if way == "fused":
            loss = fused_loss(*leaf, target, alpha, label_smoothing=epsilon, divergence=kind, ignore_index=PAD).loss
        else:
            loss = plain(*leaf, None, target, alpha, epsilon, kind, torch.promote_types(dtype, torch.float32))
    return [grad.double() for grad in grads(loss * factor, *leaf)]


def check_float16(tokens, vocab, alpha, kind, epsilon, words, largest, exponent, autocast, seed):
    """Check that the fused gradient in float16 is finite where it fits, and as exact as the plain one, or more so."""
    factor = 2.0**exponent
    draw = torch.Generator().manual_seed(seed)
    hidden, weight = torch.randn(2, tokens, 8, generator=draw), torch.randn(vocab, 8, generator=draw)
    weight *= largest / (hidden @ weight.t()).abs().max()
    target = torch.randint(min(words, vocab), (tokens,), generator=draw)  # few words: targets that repeat

    def run(way):
        return float16_gradients(way, factor, hidden, weight, target, alpha, kind, autocast, epsilon)

    for ours, by_plain, exact in zip(run("fused"), run("plain"), run("exact"), strict=True):
        # Above it float16's tensors overflow. Logits up to 100 are rounded to 1/32, so that gradients are off by more.
        limit = math.inf if autocast else torch.finfo(torch.float16).max
        margin = 1 + 0.05 * max(1, largest / 10)
        assert ours[exact.abs() * margin < limit].isfinite().all()
        assert not ours[exact.abs() > limit * margin].isfinite().any()
        fits = ours.isfinite() & (exact.abs() < limit) & by_plain.isfinite()
        error, plain_error = ((x - exact)[fits].norm().item() for x in (ours, by_plain))
        # By chance: each rounds the logits after a sum in an order of its own, and the elements and smallest numbers.
        eps = torch.finfo(torch.float16).eps
        by_chance = eps * max(1, largest) * exact[fits].norm() + 2**-24 * math.sqrt(fits.sum())
        assert error <= plain_error + by_chance, (error, plain_error)


FLOAT16 = {
    "tokens": st.sampled_from([1, 7, 60]),
    "vocab": st.sampled_from([1, 2, 33, 200]),
    "epsilon": st.sampled_from([0.0, 0.1]),
    "alpha": st.sampled_from([0.0, 0.5, 5.0, 20.0]),
    "kind": st.sampled_from(DIVERGENCES),
    "words": st.sampled_from([1, 3, 200]),
    "largest": st.sampled_from([0.1, 3.0, 30.0, 100.0]),
    "exponent": st.integers(-20, 16),
    "autocast": st.booleans(),
    "seed": st.integers(0, 5),
}
