"""The elementwise block in torch's own operations: facts and gradient against autograd, in blocks of any size."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdrop_fairseq import fused_torch
from rdrop_fairseq.divergence import DIVERGENCES, divergence
from rdrop_fairseq.fused_torch import Facts, Settings, even_size, loss_and_gradient, slices


def facts_for(tokens, passes, dtype):
    return Facts(*torch.zeros(len(Facts._fields), tokens, passes, dtype=dtype))


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("passes", [2, 3])
@pytest.mark.parametrize("block", [1, 3, 100])
def test_facts_and_gradient(kind, passes, block, monkeypatch):
    monkeypatch.setattr(fused_torch, "BLOCK", {"cpu": block * passes * 6})
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(7, passes, 6, generator=draw, dtype=torch.float64).requires_grad_()
    target = torch.randint(6, (7,), generator=draw)
    lprobs = logits.log_softmax(-1)
    at_target = lprobs.gather(-1, target.view(-1, 1, 1).expand(-1, passes, 1)).squeeze(-1)
    kl_loss = divergence(lprobs.transpose(0, 1), kind)
    # The weight of all words is left to the caller: 1 - 0.8 of the loss goes to what is not computed here.
    (0.8 * -at_target + 0.2 * logits.logsumexp(-1)).sum().add(0.7 * kl_loss.sum()).backward()
    work, facts = logits.detach().clone(), facts_for(7, passes, torch.float64)
    assert (
        loss_and_gradient(work, target, Settings(0.7, 0.8, 0.0, kind, True, torch.float64, (1.0,) * passes), facts)
        is None
    )
    torch.testing.assert_close(facts.log_sum, logits.logsumexp(-1).detach())
    torch.testing.assert_close(facts.log_sum - facts.target_logit, -at_target.detach())
    torch.testing.assert_close(facts.divergence.sum(-1), kl_loss.detach())
    torch.testing.assert_close(work, logits.grad)


@pytest.mark.parametrize("with_grad", [True, False])
def test_the_factor_of_float16(with_grad):
    logits = torch.randn(4, 2, 50, generator=torch.Generator().manual_seed(1)).half()
    exact = logits.double()
    settings = Settings(5.0, 0.9, 0.0, "symmetric", with_grad, torch.float16, (1.0, 1.0))
    factor = loss_and_gradient(logits, torch.arange(4), settings, facts_for(4, 2, torch.float32))
    if not with_grad:
        assert factor is None
        return
    loss_and_gradient(exact, torch.arange(4), settings, facts_for(4, 2, torch.float64))
    assert factor.shape == (1,) and factor.dtype == torch.float32
    assert logits.abs().max().item() == pytest.approx(2**15, rel=1e-3)
    torch.testing.assert_close(logits.double() / factor.double(), exact, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_no_tokens(dtype):
    settings = Settings(5.0, 0.9, 0.0, "symmetric", True, dtype, (1.0, 1.0))
    facts = facts_for(0, 2, torch.float32)
    loss_and_gradient(torch.zeros(0, 2, 5, dtype=dtype), torch.zeros(0, dtype=torch.long), settings, facts)


def test_the_kernel_has_the_same_signature():
    fused_triton = pytest.importorskip("rdrop_fairseq.fused_triton")
    assert inspect.signature(fused_triton.loss_and_gradient) == inspect.signature(loss_and_gradient)


@settings(max_examples=200)
@given(st.integers(0, 500), st.integers(1, 50), st.integers(1, 2000))
def test_property_parts_are_within_the_limit_and_of_about_one_size(tokens, numbers, limit):
    size = even_size(tokens, numbers, limit)
    parts = list(slices(tokens, size))
    assert size == 1 or size * numbers <= limit
    assert [n for part in parts for n in range(tokens)[part]] == list(range(tokens))
    assert len(parts) == len(list(slices(tokens, max(1, limit // numbers))))  # no more parts than needed
