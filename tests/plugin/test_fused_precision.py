"""The fused loss: precision and memory."""

import math

import pytest
import torch
from hypothesis import given, settings
from support.fused_cases import FLOAT16, PAD, check_float16, float16_gradients, fused_loss, grads, leaves, plain, sizes
from support.helpers import kept_for_backward
from support.lprobs import every_kind
from torch.utils._python_dispatch import TorchDispatchMode

# Precision


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_error_is_not_above_the_plain_paths(kind, dtype):
    hidden, weight, bias, target = leaves(shape=(6, 20), width=32, vocab=300, bias=True, dtype=dtype)
    with torch.no_grad():
        weight.mul_(0.3)  # so that the likeliest word does not have all the probability

    def run(loss, tensors):
        value = loss(*tensors)
        return value.detach(), *grads(value * 8, *tensors)

    def ours(hidden, weight, bias):
        return fused_loss(
            hidden, weight, target, 5.0, bias=bias, label_smoothing=0.1, divergence=kind, ignore_index=PAD
        ).loss

    def naive(*tensors, dtype=torch.float32):
        return plain(*tensors, target, kind=kind, dtype=dtype)

    halves = hidden, weight, bias
    doubles = [tensor.detach().double().requires_grad_() for tensor in halves]
    exact = run(lambda *tensors: naive(*tensors, dtype=torch.float64), doubles)
    for actual, by_naive, truth in zip(run(ours, halves), run(naive, halves), exact, strict=True):
        error, naive_error = ((x.double() - truth).norm().item() for x in (actual, by_naive))
        assert error <= naive_error + 0.1 * torch.finfo(dtype).eps * truth.norm().item()


def test_small_probabilities_count_in_float16():
    """The gradient is computed in the forward, before the loss scale: it must not vanish below float16's 6e-8."""
    vocab = 30_000
    hidden = torch.zeros(2, 1, 8, dtype=torch.float16)
    hidden[:, :, 0] = 1
    weight = torch.zeros(vocab, 8, dtype=torch.float16)
    weight[0, 0] = 7.0  # the other words: e^-7 / (1 + 30000 e^-7) each, and times 1e-3 by the state
    hidden[:, :, 1] = 1e-3
    weight.requires_grad_()
    loss = fused_loss(hidden, weight, torch.tensor([0]), 5.0).loss
    (grad,) = grads(loss * 2**12, weight)
    expected = 2**12 * 2 * 1e-3 / (math.exp(7) + vocab - 1)
    assert grad[1:, 1].float().mean().item() == pytest.approx(expected, rel=0.01)


@settings(max_examples=80)
@given(**FLOAT16)
def test_property_float16_is_finite_where_it_fits_and_as_exact_as_the_plain_path(**drawn):
    check_float16(**drawn)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("tokens", [300, 6000])
def test_float16_sums_of_one_word_do_not_overflow(autocast, tokens):
    """One target 300 times has a gradient of 540, which fits 64 times over; that of 20 times as many does not."""
    vocab = 100
    hidden, weight = torch.ones(2, tokens, 8), torch.zeros(vocab, 8)
    target = torch.full((tokens,), 3)
    _, grad = float16_gradients("fused", 1.0, hidden, weight, target, 5.0, "symmetric", autocast)
    expected = 2 * tokens * (1 / vocab - 0.9)
    assert grad[3].tolist() == pytest.approx([expected] * 8, rel=1e-3)
    _, grad = float16_gradients("fused", 64.0, hidden, weight, target, 5.0, "symmetric", autocast)
    assert grad.isfinite().all() == (autocast or tokens == 300)


@pytest.mark.parametrize("factor", [1e-3, 1 / 20_000, 1e-5])
def test_a_small_factor_of_the_loss_is_not_rounded(factor):
    hidden, weight, _, target = leaves(shape=(40,), dtype=torch.float32)
    ours, exact = (
        float16_gradients(way, factor, hidden.detach(), weight.detach(), target, 5.0, "symmetric", False)
        for way in ("fused", "exact")
    )
    for one, other in zip(ours, exact, strict=True):
        assert (one * other).sum() / (other * other).sum() == pytest.approx(1, abs=2e-3)


def test_elements_above_float16_do_not_overflow_when_scaled_down():
    """Sure and opposite passes: an element of the gradient by the logits is above 65504, and fits times 1/1000."""
    hidden, weight = torch.eye(4)[:2].unsqueeze(1) * 200, torch.zeros(50, 4)
    weight[3, 0] = weight[7, 1] = 200  # logits of 40,000
    ours, exact = (
        float16_gradients(way, 1e-3, hidden, weight, torch.tensor([3]), 20.0, "symmetric", False)
        for way in ("fused", "exact")
    )
    for one, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("autocast", [False, True])
def test_where_all_passes_are_sure_the_float16_gradient_is_0(autocast):
    hidden, weight = torch.ones(2, 3, 4), torch.zeros(9, 4)
    weight[5] = 25  # logits of 100 and 0
    target = torch.full((3,), 5)
    for grad in float16_gradients("fused", 2.0**10, hidden, weight, target, 5.0, "symmetric", autocast, epsilon=0.0):
        assert not grad.any()


def test_the_loss_scale_scales_the_gradients():
    hidden, weight, bias, target = leaves(bias=True, dtype=torch.float16)

    def scaled(factor):
        loss = fused_loss(hidden, weight, target, 5.0, bias=bias, label_smoothing=0.1).loss
        return grads(loss * factor, hidden, weight, bias)

    for once, often in zip(scaled(1.0), scaled(64.0), strict=True):
        assert once.dtype == torch.float16
        torch.testing.assert_close(often, once * 64, rtol=2e-3, atol=0.1)


def test_many_chunks_add_up_in_float32():
    # 1,200 equal tokens in chunks of one: a sum in half precision would stall at 256 times the summand.
    hidden, weight, _, _ = leaves(shape=(1,), dtype=torch.bfloat16)
    hidden = hidden.detach().expand(-1, 1200, -1)
    target = torch.zeros(1200, dtype=torch.long)
    with sizes(1, 1, 2 * 11):
        result = fused_loss(hidden, weight, target, 5.0)
        (grad,) = grads(result.loss, weight)
    one = fused_loss(hidden[:, :1], weight, target[:1], 5.0)
    (one_grad,) = grads(one.loss, weight)
    torch.testing.assert_close(result.loss, 1200 * one.loss)
    torch.testing.assert_close(grad.float(), 1200 * one_grad.float(), rtol=0.02, atol=1)


def test_autocast_multiplies_in_its_dtype():
    hidden, weight, bias, target = leaves(bias=True, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = fused_loss(hidden, weight, target, 5.0, bias=bias, label_smoothing=0.1).loss
    actual = grads(loss, hidden, weight, bias)
    halves = [tensor.detach().bfloat16().requires_grad_() for tensor in (hidden, weight, bias)]
    expected = fused_loss(*halves[:2], target, 5.0, bias=halves[2], label_smoothing=0.1).loss
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)
    for one, other in zip(actual, grads(expected, *halves), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other.float(), rtol=0.01, atol=0.01)


# Memory


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


def test_the_logits_of_the_whole_batch_never_exist():
    tokens, vocab, width = 64, 400, 4
    hidden, weight, _, target = leaves(shape=(tokens,), width=width, vocab=vocab)
    with sizes(4, 2, 2 * vocab), Largest() as largest:
        grads(fused_loss(hidden, weight, target, 5.0, label_smoothing=0.1).loss, hidden, weight)
    assert largest.numel == 2 * 4 * vocab  # one chunk
    with Largest() as largest:
        grads(plain(hidden, weight, None, target), hidden, weight)
    assert largest.numel == 2 * tokens * vocab  # so that it is seen to count


def test_no_logits_are_kept_for_backward():
    hidden, weight, _, target = leaves(shape=(64,), width=4, vocab=400, dtype=torch.float32)

    def loss():
        return fused_loss(hidden, weight, target, 5.0).loss

    assert kept_for_backward(loss, 2 * 64 * 400) == 0
    assert kept_for_backward(lambda: plain(hidden, weight, None, target), 2 * 64 * 400) == 1


def test_float64_stays_float64_under_autocast():
    *tensors, target = leaves(bias=True)
    expected = fused_loss(*tensors[:2], target, 5.0, bias=tensors[2]).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = fused_loss(*tensors[:2], target, 5.0, bias=tensors[2]).loss
    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, expected)
