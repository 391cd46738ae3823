"""The fused loss: numbers by hand, value and gradient against reference.py, precision, memory, and what it refuses."""

import math
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import rdrop
from support.helpers import kept_for_backward
from torch.utils._python_dispatch import TorchDispatchMode

from rdrop_fairseq import fused, fused_torch
from rdrop_fairseq.divergence import DIVERGENCES, divergence
from rdrop_fairseq.fused import linear_rdrop_loss

PAD = 1
every_kind = pytest.mark.parametrize("kind", DIVERGENCES)


@contextmanager
def sizes(tokens_in_chunk, tokens_in_block, numbers):
    """Chunks and blocks of so many tokens, each with so many logits."""
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
    """The loss as the plain path has it, in vectorised torch: all logits, one log-softmax."""
    lprobs = F.linear(hidden, weight, bias).to(dtype).log_softmax(-1)
    nll_loss = -lprobs.gather(-1, target.expand(lprobs.shape[:-1]).unsqueeze(-1)).squeeze(-1)
    epsilon = epsilon if lprobs.size(-1) > 1 else 0.0
    uniform = epsilon / max(1, lprobs.size(-1) - 1)
    loss = (1 - epsilon - uniform) * nll_loss - uniform * lprobs.sum(-1)
    return (loss.sum(0) + alpha * divergence(lprobs, kind))[target != PAD].sum()


def grads(loss, *tensors):
    return torch.autograd.grad(loss, [tensor for tensor in tensors if tensor is not None])


def test_numbers_by_hand():
    # As in test_rdrop_label_smoothed_cross_entropy.py: 2.7 + 2.7 + 4 * 1/4, in units of ln 2. The logits are the hidden
    # states, projected by the identity.
    probs = torch.tensor([[[1 / 2, 1 / 4, 1 / 8, 1 / 8]], [[1 / 4, 1 / 2, 1 / 8, 1 / 8]]])
    result = linear_rdrop_loss(probs.log(), torch.eye(4), torch.tensor([2]), 4.0, label_smoothing=0.3)
    assert result.loss.item() / math.log(2) == pytest.approx(6.4)
    assert result.nll_loss.item() / math.log(2) == pytest.approx(6)
    assert result.kl_loss.item() / math.log(2) == pytest.approx(1 / 4)


def test_gradient_by_hand():
    # p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4), target 2, no smoothing, d = log p - log q = (1, -1, 0) ln 2. By the
    # logits of p: p - [v = 2] + alpha/2 [p (d - p.d) + (p - q)], p.d = 1/4 ln 2:
    # (1/2, 1/4, -3/4) + 1/2 alpha (3/8 ln 2 + 1/4, -5/16 ln 2 - 1/4, -1/16 ln 2); of q the first two change places.
    ln = math.log(2)
    probs = torch.tensor([[[1 / 2, 1 / 4, 1 / 4]], [[1 / 4, 1 / 2, 1 / 4]]], dtype=torch.float64)
    hidden = probs.log().requires_grad_()
    linear_rdrop_loss(hidden, torch.eye(3, dtype=torch.float64), torch.tensor([2]), 4.0).loss.backward()
    first = [1 / 2 + 0.75 * ln + 0.5, 1 / 4 - 0.625 * ln - 0.5, -3 / 4 - 0.125 * ln]
    second = [first[1], first[0], first[2]]
    torch.testing.assert_close(hidden.grad, torch.tensor([[first], [second]], dtype=torch.float64))


@every_kind
@pytest.mark.parametrize("passes", [2, 3])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("alpha", [0.0, 0.7])
@pytest.mark.parametrize("bias", [False, True])
def test_value_and_gradient_equal_the_reference(kind, passes, epsilon, alpha, bias):
    *tensors, target = leaves(passes, bias=bias)
    with sizes(4, 3, passes * 11):  # twelve tokens or so: chunks of which the last is shorter, and blocks too
        result = linear_rdrop_loss(
            *tensors[:2], target, alpha, bias=tensors[2], label_smoothing=epsilon, divergence=kind, ignore_index=PAD
        )
    expected = rdrop(F.linear(*tensors), target, alpha, epsilon, kind, PAD)
    torch.testing.assert_close(result.loss, expected.loss)
    torch.testing.assert_close(result.nll_loss / passes, expected.nll_loss.detach())
    torch.testing.assert_close(result.kl_loss, expected.kl_loss.detach())
    assert expected.kl_loss > 1
    for actual, wanted in zip(grads(3 * result.loss, *tensors), grads(3 * expected.loss, *tensors), strict=True):
        torch.testing.assert_close(actual, wanted)


@every_kind
def test_gradient_equals_finite_differences(kind):
    """In place of gradcheck, which goes through the same graph several times."""
    *tensors, target = leaves(3, (4,), bias=True)
    step, generator = 1e-6, torch.Generator().manual_seed(1)
    directions = [torch.randn(tensor.shape, generator=generator, dtype=torch.float64) for tensor in tensors]

    def loss(factor):
        hidden, weight, bias = (x + factor * way for x, way in zip(tensors, directions, strict=True))
        return linear_rdrop_loss(hidden, weight, target, 0.7, bias=bias, label_smoothing=0.1, divergence=kind).loss

    slope = sum((grad * way).sum() for grad, way in zip(grads(loss(0.0), *tensors), directions, strict=True))
    torch.testing.assert_close((loss(step) - loss(-step)) / (2 * step), slope, rtol=1e-6, atol=1e-6)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 7), st.sampled_from(DIVERGENCES), st.integers(2, 4))
def test_property_chunks_and_blocks_change_nothing(chunk, block, tokens, kind, passes):
    *tensors, target = leaves(passes, (tokens,))

    def result():
        got = linear_rdrop_loss(*tensors[:2], target, 2.0, label_smoothing=0.1, divergence=kind, count_correct=True)
        return got, grads(got.loss, *tensors)

    whole, whole_grads = result()
    with sizes(chunk, block, passes * 11):
        parts, parts_grads = result()
    for actual, expected in zip((*parts, *parts_grads), (*whole, *whole_grads), strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 1, 3)])
def test_shapes(shape):
    hidden, weight, _, target = leaves(shape=shape)
    result = linear_rdrop_loss(hidden, weight, target, 5.0, label_smoothing=0.1, ignore_index=PAD)
    expected = plain(hidden, weight, None, target, dtype=torch.float64)
    torch.testing.assert_close(result.loss, expected)
    assert all(field.shape == () for field in result)
    (grad,) = grads(result.loss, hidden)
    assert grad.shape == hidden.shape


def test_the_projection_may_share_its_weights():
    """As with --share-decoder-input-output-embed: the gradients of both uses add up."""
    _, weight, _, target = leaves()
    words = torch.randint(len(weight), (2, 3, 5))

    def grad(loss):
        return grads(loss(F.embedding(words, weight).tanh()), weight)[0]

    actual = grad(lambda hidden: linear_rdrop_loss(hidden, weight, target, 5.0, ignore_index=PAD).loss)
    expected = grad(lambda hidden: plain(hidden, weight, None, target, epsilon=0, dtype=torch.float64))
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("frozen", ["hidden", "weight", "bias"])
def test_frozen_parts_get_no_gradient(frozen):
    *tensors, target = leaves(bias=True)
    named = dict(zip(("hidden", "weight", "bias"), tensors, strict=True))
    expected = dict(zip(named, grads(plain(*tensors, target, dtype=torch.float64), *tensors), strict=True))
    named[frozen].requires_grad_(False)
    result = linear_rdrop_loss(
        named["hidden"], named["weight"], target, 5.0, bias=named["bias"], label_smoothing=0.1, ignore_index=PAD
    )
    result.loss.backward()
    for name, tensor in named.items():
        if name == frozen:
            assert tensor.grad is None
        else:
            torch.testing.assert_close(tensor.grad, expected[name])


def test_no_grad_gives_the_same_value_and_computes_no_gradient(monkeypatch):
    hidden, weight, _, target = leaves()
    expected = linear_rdrop_loss(hidden, weight, target, 5.0)
    monkeypatch.setattr(fused_torch, "gradient", None)
    with torch.no_grad():
        actual = linear_rdrop_loss(hidden, weight, target, 5.0)
    assert [field.item() for field in actual] == [field.item() for field in expected]
    assert expected.loss.requires_grad and not actual.loss.requires_grad
    assert not expected.kl_loss.requires_grad and not expected.nll_loss.requires_grad


@pytest.mark.parametrize("ignored", [True, False], ids=["all padding", "no tokens"])
def test_nothing_to_count(ignored):
    hidden, weight, bias, target = leaves(shape=(4,) if ignored else (0,), bias=True)
    target = torch.full_like(target, PAD)
    result = linear_rdrop_loss(hidden, weight, target, 5.0, bias=bias, label_smoothing=0.1, ignore_index=PAD)
    assert [field.item() for field in result] == [0, 0, 0, 0]
    for grad in grads(result.loss, hidden, weight, bias):
        assert not grad.any()


def test_ignored_positions_are_not_computed():
    hidden, weight, _, target = leaves()
    seen = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function.overloadpacket is torch.ops.aten.mm:
                seen.append(args[0].shape)
            return function(*args, **(kwargs or {}))

    with Sizes(), torch.no_grad():
        linear_rdrop_loss(hidden, weight, target, 5.0, ignore_index=PAD)
    assert seen == [(2 * int(target.ne(PAD).sum()), 7)]
    filled = hidden.detach().clone()
    filled[:, target == PAD] = math.nan
    assert linear_rdrop_loss(filled, weight, target, 5.0, ignore_index=PAD).loss.isfinite()


@pytest.mark.parametrize("passes", [2, 3])
def test_correct_words_are_counted(passes):
    hidden, weight, bias, target = leaves(passes, (50,), bias=True)
    result = linear_rdrop_loss(hidden, weight, target, 5.0, bias=bias, ignore_index=PAD, count_correct=True)
    best = F.linear(hidden, weight, bias).argmax(-1)
    assert result.n_correct == best.eq(target)[:, target != PAD].sum() > 0
    assert linear_rdrop_loss(hidden, weight, target, 5.0).n_correct == 0


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_extreme_logits_have_the_known_value(kind, dtype):
    # Two one-hot distributions on different words, 2e4 nats apart: KL is 2e4, js is ln 2; the target is p's word.
    hidden = torch.tensor([[(1e4, -1e4)], [(-1e4, 1e4)]], dtype=dtype, requires_grad=True)
    result = linear_rdrop_loss(hidden, torch.eye(2, dtype=dtype), torch.tensor([0]), 1.0, divergence=kind)
    assert result.kl_loss.item() == pytest.approx(math.log(2) if kind == "js" else 2e4)
    assert result.nll_loss.item() == pytest.approx(2e4)
    result.loss.backward()
    assert hidden.grad.isfinite().all()


@every_kind
@pytest.mark.parametrize("passes", [2, 3])
def test_zero_where_the_passes_agree(kind, passes):
    hidden, weight, _, target = leaves(dtype=torch.float32)
    same = hidden[:1].expand(passes, -1, -1, -1)
    result = linear_rdrop_loss(same, weight, target, 5.0, divergence=kind)
    assert result.kl_loss.item() == pytest.approx(0, abs=1e-4)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_forbidden_word_contributes_nothing(kind, dtype):
    hidden, weight, bias, target = (x.detach() for x in leaves(bias=True, dtype=dtype))
    target = target.clamp(max=len(weight) - 2)
    weight.requires_grad_()
    bias[-1] = -math.inf
    result = linear_rdrop_loss(hidden, weight, target, 5.0, bias=bias, divergence=kind)
    (grad,) = grads(result.loss, weight)
    without = weight[:-1].detach().requires_grad_()
    expected = linear_rdrop_loss(hidden, without, target, 5.0, bias=bias[:-1], divergence=kind)
    torch.testing.assert_close(result.loss, expected.loss, rtol=1e-3, atol=0)
    assert not grad[-1].any()
    assert grad.isfinite().all()


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
        return linear_rdrop_loss(
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
    loss = linear_rdrop_loss(hidden, weight, torch.tensor([0]), 5.0).loss
    (grad,) = grads(loss * 2**12, weight)
    expected = 2**12 * 2 * 1e-3 / (math.exp(7) + vocab - 1)
    assert grad[1:, 1].float().mean().item() == pytest.approx(expected, rel=0.01)


def float16_gradients(way, factor, hidden, weight, target, alpha, kind, autocast, epsilon=0.1):
    """The gradients of ``factor`` times the loss, by float16 tensors or under autocast: "fused", "plain" or "exact"."""
    dtype = torch.float64 if way == "exact" else torch.float32 if autocast else torch.float16
    leaf = [x.to(torch.float16).to(dtype).requires_grad_() for x in (hidden, weight)]
    with torch.autocast("cpu", dtype=torch.float16, enabled=autocast and way != "exact"):
        if way == "fused":
            loss = linear_rdrop_loss(
                *leaf, target, alpha, label_smoothing=epsilon, divergence=kind, ignore_index=PAD
            ).loss
        else:
            loss = plain(*leaf, None, target, alpha, epsilon, kind, torch.promote_types(dtype, torch.float32))
    return [grad.double() for grad in grads(loss * factor, *leaf)]


def check_float16(tokens, vocab, alpha, kind, epsilon, words, largest, exponent, autocast, seed):
    """The fused gradient in float16 is finite where it fits, and no further from float64's than the plain one."""
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
        loss = linear_rdrop_loss(hidden, weight, target, 5.0, bias=bias, label_smoothing=0.1).loss
        return grads(loss * factor, hidden, weight, bias)

    for once, often in zip(scaled(1.0), scaled(64.0), strict=True):
        assert once.dtype == torch.float16
        torch.testing.assert_close(often, once * 64, rtol=2e-3, atol=0.1)


def test_many_chunks_add_up_in_float32():
    # 4,000 equal tokens in chunks of one: a sum in half precision would stall at 256 times the summand.
    hidden, weight, _, _ = leaves(shape=(1,), dtype=torch.bfloat16)
    hidden = hidden.detach().expand(-1, 4000, -1)
    target = torch.zeros(4000, dtype=torch.long)
    with sizes(1, 1, 2 * 11):
        result = linear_rdrop_loss(hidden, weight, target, 5.0)
        (grad,) = grads(result.loss, weight)
    one = linear_rdrop_loss(hidden[:, :1], weight, target[:1], 5.0)
    (one_grad,) = grads(one.loss, weight)
    torch.testing.assert_close(result.loss, 4000 * one.loss)
    torch.testing.assert_close(grad.float(), 4000 * one_grad.float(), rtol=0.02, atol=1)


def test_autocast_multiplies_in_its_dtype():
    hidden, weight, bias, target = leaves(bias=True, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = linear_rdrop_loss(hidden, weight, target, 5.0, bias=bias, label_smoothing=0.1).loss
    actual = grads(loss, hidden, weight, bias)
    halves = [tensor.detach().bfloat16().requires_grad_() for tensor in (hidden, weight, bias)]
    expected = linear_rdrop_loss(*halves[:2], target, 5.0, bias=halves[2], label_smoothing=0.1).loss
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
        grads(linear_rdrop_loss(hidden, weight, target, 5.0, label_smoothing=0.1).loss, hidden, weight)
    assert largest.numel == 2 * 4 * vocab  # one chunk
    with Largest() as largest:
        grads(plain(hidden, weight, None, target), hidden, weight)
    assert largest.numel == 2 * tokens * vocab  # so that it is seen to count


def test_no_logits_are_kept_for_backward():
    hidden, weight, _, target = leaves(shape=(64,), width=4, vocab=400, dtype=torch.float32)

    def loss():
        return linear_rdrop_loss(hidden, weight, target, 5.0).loss

    assert kept_for_backward(loss, 2 * 64 * 400) == 0
    assert kept_for_backward(lambda: plain(hidden, weight, None, target), 2 * 64 * 400) == 1


# What it refuses


def test_an_ignored_target_may_be_any_number():
    hidden, weight, _, _ = leaves(shape=(2,))
    result = linear_rdrop_loss(hidden, weight, torch.tensor([3, -100]), 5.0, ignore_index=-100)
    expected = linear_rdrop_loss(hidden[:, :1], weight, torch.tensor([3]), 5.0)
    torch.testing.assert_close(result.loss, expected.loss)


@every_kind
def test_a_vocabulary_of_one_word_leaves_nothing_to_learn(kind):
    hidden, weight, _, _ = leaves(shape=(3,), vocab=1)
    result = linear_rdrop_loss(
        hidden, weight, torch.zeros(3, dtype=torch.long), 5.0, label_smoothing=0.1, divergence=kind
    )
    assert result.loss.item() == pytest.approx(0, abs=1e-12)
    for grad in grads(result.loss, hidden, weight):
        torch.testing.assert_close(grad, torch.zeros_like(grad))


def test_float64_stays_float64_under_autocast():
    *tensors, target = leaves(bias=True)
    expected = linear_rdrop_loss(*tensors[:2], target, 5.0, bias=tensors[2]).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = linear_rdrop_loss(*tensors[:2], target, 5.0, bias=tensors[2]).loss
    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, expected)


def test_a_second_backward_is_refused():
    hidden, weight, _, target = leaves()
    loss = linear_rdrop_loss(hidden, weight, target, 5.0).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_double_backward_is_refused():
    hidden, weight, _, target = leaves()
    with pytest.raises(RuntimeError, match="once only"):
        torch.autograd.grad(linear_rdrop_loss(hidden, weight, target, 5.0).loss, hidden, create_graph=True)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"divergence": "jsd"}, ["'jsd'", *DIVERGENCES]),
        ({"hidden": torch.zeros(1, 3, 7)}, ["[1, 3, 7]", "2 passes"]),
        ({"hidden": torch.zeros(7)}, ["[7]", "2 passes"]),
        ({"target": torch.zeros(4, dtype=torch.long)}, ["[4]", "[3]"]),
        ({"target": torch.zeros(2, 3, dtype=torch.long)}, ["[2, 3]", "[3]"]),
        ({"weight": torch.zeros(11, 8)}, ["[11, 8]", "[V, 7]"]),
        ({"bias": torch.zeros(10)}, ["[10]", "[11]"]),
        ({"weight": torch.zeros(0, 7)}, ["[0, 7]", "V > 0"]),
        ({"hidden": torch.zeros(2, 3, 0), "weight": torch.zeros(11, 0)}, ["[2, 3, 0]", "D > 0"]),
        ({"alpha": -1.0}, ["alpha -1.0", ">= 0"]),
        ({"alpha": math.nan}, ["alpha nan", ">= 0"]),
        ({"label_smoothing": 1.0}, ["label_smoothing 1.0", "[0, 1)"]),
        ({"label_smoothing": -0.1}, ["label_smoothing -0.1", "[0, 1)"]),
        ({"target": torch.tensor([0, 11, 3])}, ["0 to 11", "0 to 10"]),
        ({"target": torch.tensor([0, -100, 3])}, ["-100 to 3", "0 to 10", "ignore_index"]),
    ],
)
def test_errors_name_the_value_and_what_is_allowed(change, words):
    hidden, weight, _, target = leaves(shape=(3,))
    with pytest.raises(ValueError) as error:
        linear_rdrop_loss(**({"hidden": hidden, "weight": weight, "target": target, "alpha": 5.0} | change))
    assert all(word in str(error.value) for word in words)
