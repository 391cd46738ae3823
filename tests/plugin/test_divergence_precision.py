"""The divergence: precision and memory."""

import math

import pytest
import torch
import torch.nn.functional as F
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss
from support.helpers import kept_for_backward
from support.lprobs import every_kind, random_lprobs, value_and_grad

from rdrop_fairseq.divergence import divergence


def naive(lprobs, kind):
    """Return the formulas as torch's kl_div computes them, in the input's own precision."""
    lp, lq = lprobs
    forward = F.kl_div(lq, lp, log_target=True, reduction="none").sum(-1)
    reverse = F.kl_div(lp, lq, log_target=True, reduction="none").sum(-1)
    if kind == "js":
        lm = torch.logaddexp(lp.float(), lq.float()).to(lp.dtype) - math.log(2)  # no logaddexp in half on a CPU
        return (naive(torch.stack([lp, lm]), "forward") + naive(torch.stack([lq, lm]), "forward")) / 2
    if kind == "bhattacharyya":
        return -((lp + lq) / 2).exp().sum(-1).log()
    return {"forward": forward, "reverse": reverse, "symmetric": (forward + reverse) / 2}[kind]


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("softmax_dtype", [None, torch.float32], ids=["half", "as_fairseq"])
def test_half_precision_error_is_not_above_the_naive_formulas(kind, dtype, softmax_dtype):
    logits = random_lprobs(2, 40, 300, scale=1.5).to(dtype)

    def through(function):
        return value_and_grad(lambda x: function(x.log_softmax(-1, dtype=softmax_dtype), kind), logits)

    exact = value_and_grad(lambda x: divergence(x.log_softmax(-1), kind), logits.double())
    for actual, plain, truth in zip(through(divergence), through(naive), exact, strict=True):
        error, plain_error = ((x.double() - truth).abs().max().item() for x in (actual, plain))
        assert error <= plain_error + 1e-2 * torch.finfo(dtype).eps * truth.abs().max().item()


@every_kind
def test_value_is_accumulated_in_float32(kind):
    # 50,000 words: a sum in half precision would stall long before the end.
    half = random_lprobs(2, 2, 50_000, scale=1.0, dtype=torch.float16)
    torch.testing.assert_close(divergence(half, kind).double(), divergence(half.double(), kind), rtol=1e-5, atol=1e-6)


def test_memory_kept_for_backward_is_that_of_plain_cross_entropy():
    positions, vocab = 12, 50
    logits = torch.randn(2 * positions, vocab, requires_grad=True)
    target = torch.randint(vocab, (positions,)).repeat(2)

    def cross_entropy(lprobs):
        return label_smoothed_nll_loss(lprobs, target, 0.1, ignore_index=1)[0]

    def plain():
        return cross_entropy(logits.log_softmax(-1))

    def rdrop():
        lprobs = logits.log_softmax(-1)
        return cross_entropy(lprobs) + 5 * divergence(lprobs.view(2, positions, vocab)).sum()

    assert kept_for_backward(plain, logits.numel()) == 1  # so that it is seen to count
    assert kept_for_backward(rdrop, logits.numel()) == 1
