"""The fused loss: numbers by hand, value and gradient against reference.py, and what it refuses."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from reference import rdrop
from support.fused_cases import PAD, fused_loss, grads, leaves, plain, sizes
from support.lprobs import every_kind
from torch.utils._python_dispatch import TorchDispatchMode

from rdrop_fairseq import fused_torch
from rdrop_fairseq.divergence import DIVERGENCES


def test_numbers_by_hand():
    # As in test_rdrop_label_smoothed_cross_entropy.py: 2.7 + 2.7 + 4 * 1/4, in units of ln 2. The logits are the hidden
    # states, projected by the identity.
    probs = torch.tensor([[[1 / 2, 1 / 4, 1 / 8, 1 / 8]], [[1 / 4, 1 / 2, 1 / 8, 1 / 8]]])
    result = fused_loss(probs.log(), torch.eye(4), torch.tensor([2]), 4.0, label_smoothing=0.3)
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
    fused_loss(hidden, torch.eye(3, dtype=torch.float64), torch.tensor([2]), 4.0).loss.backward()
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
        result = fused_loss(
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
        return fused_loss(hidden, weight, target, 0.7, bias=bias, label_smoothing=0.1, divergence=kind).loss

    slope = sum((grad * way).sum() for grad, way in zip(grads(loss(0.0), *tensors), directions, strict=True))
    torch.testing.assert_close((loss(step) - loss(-step)) / (2 * step), slope, rtol=1e-6, atol=1e-6)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 7), st.sampled_from(DIVERGENCES), st.integers(2, 4))
def test_property_chunks_and_blocks_change_nothing(chunk, block, tokens, kind, passes):
    *tensors, target = leaves(passes, (tokens,))

    def result():
        got = fused_loss(*tensors[:2], target, 2.0, label_smoothing=0.1, divergence=kind, count_correct=True)
        return got, grads(got.loss, *tensors)

    whole, whole_grads = result()
    with sizes(chunk, block, passes * 11):
        parts, parts_grads = result()
    for actual, expected in zip((*parts, *parts_grads), (*whole, *whole_grads), strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 1, 3)])
def test_shapes(shape):
    hidden, weight, _, target = leaves(shape=shape)
    result = fused_loss(hidden, weight, target, 5.0, label_smoothing=0.1, ignore_index=PAD)
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

    actual = grad(lambda hidden: fused_loss(hidden, weight, target, 5.0, ignore_index=PAD).loss)
    expected = grad(lambda hidden: plain(hidden, weight, None, target, epsilon=0, dtype=torch.float64))
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("frozen", ["hidden", "weight", "bias"])
def test_frozen_parts_get_no_gradient(frozen):
    *tensors, target = leaves(bias=True)
    named = dict(zip(("hidden", "weight", "bias"), tensors, strict=True))
    expected = dict(zip(named, grads(plain(*tensors, target, dtype=torch.float64), *tensors), strict=True))
    named[frozen].requires_grad_(False)
    result = fused_loss(
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
    expected = fused_loss(hidden, weight, target, 5.0)
    monkeypatch.setattr(fused_torch, "gradient", None)
    with torch.no_grad():
        actual = fused_loss(hidden, weight, target, 5.0)
    assert [field.item() for field in actual] == [field.item() for field in expected]
    assert expected.loss.requires_grad and not actual.loss.requires_grad
    assert not expected.kl_loss.requires_grad and not expected.nll_loss.requires_grad


@pytest.mark.parametrize("ignored", [True, False], ids=["all padding", "no tokens"])
def test_nothing_to_count(ignored):
    hidden, weight, bias, target = leaves(shape=(4,) if ignored else (0,), bias=True)
    target = torch.full_like(target, PAD)
    result = fused_loss(hidden, weight, target, 5.0, bias=bias, label_smoothing=0.1, ignore_index=PAD)
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
        fused_loss(hidden, weight, target, 5.0, ignore_index=PAD)
    assert seen == [(2 * int(target.ne(PAD).sum()), 7)]
    filled = hidden.detach().clone()
    filled[:, target == PAD] = math.nan
    assert fused_loss(filled, weight, target, 5.0, ignore_index=PAD).loss.isfinite()


@pytest.mark.parametrize("passes", [2, 3])
def test_correct_words_are_counted(passes):
    hidden, weight, bias, target = leaves(passes, (50,), bias=True)
    result = fused_loss(hidden, weight, target, 5.0, bias=bias, ignore_index=PAD, count_correct=True)
    best = F.linear(hidden, weight, bias).argmax(-1)
    assert result.n_correct == best.eq(target)[:, target != PAD].sum() > 0
    assert fused_loss(hidden, weight, target, 5.0).n_correct == 0


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_extreme_logits_have_the_known_value(kind, dtype):
    # Two one-hot distributions on different words, 2e4 nats apart, as in test_divergence.py; the target is p's word.
    known = {"js": math.log(2), "bhattacharyya": 1e4 - math.log(2)}
    hidden = torch.tensor([[(1e4, -1e4)], [(-1e4, 1e4)]], dtype=dtype, requires_grad=True)
    result = fused_loss(hidden, torch.eye(2, dtype=dtype), torch.tensor([0]), 1.0, divergence=kind)
    assert result.kl_loss.item() == pytest.approx(known.get(kind, 2e4))
    assert result.nll_loss.item() == pytest.approx(2e4)
    result.loss.backward()
    assert hidden.grad.isfinite().all()


@every_kind
@pytest.mark.parametrize("passes", [2, 3])
def test_zero_where_the_passes_agree(kind, passes):
    hidden, weight, _, target = leaves(dtype=torch.float32)
    same = hidden[:1].expand(passes, -1, -1, -1)
    result = fused_loss(same, weight, target, 5.0, divergence=kind)
    assert result.kl_loss.item() == pytest.approx(0, abs=1e-4)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_forbidden_word_contributes_nothing(kind, dtype):
    hidden, weight, bias, target = (x.detach() for x in leaves(bias=True, dtype=dtype))
    target = target.clamp(max=len(weight) - 2)
    weight.requires_grad_()
    bias[-1] = -math.inf
    result = fused_loss(hidden, weight, target, 5.0, bias=bias, divergence=kind)
    (grad,) = grads(result.loss, weight)
    without = weight[:-1].detach().requires_grad_()
    expected = fused_loss(hidden, without, target, 5.0, bias=bias[:-1], divergence=kind)
    torch.testing.assert_close(result.loss, expected.loss, rtol=1e-3, atol=0)
    assert not grad[-1].any()
    assert grad.isfinite().all()


# What it refuses


def test_an_ignored_target_may_be_any_number():
    hidden, weight, _, _ = leaves(shape=(2,))
    result = fused_loss(hidden, weight, torch.tensor([3, -100]), 5.0, ignore_index=-100)
    expected = fused_loss(hidden[:, :1], weight, torch.tensor([3]), 5.0)
    torch.testing.assert_close(result.loss, expected.loss)


@every_kind
def test_a_vocabulary_of_one_word_leaves_nothing_to_learn(kind):
    hidden, weight, _, _ = leaves(shape=(3,), vocab=1)
    result = fused_loss(hidden, weight, torch.zeros(3, dtype=torch.long), 5.0, label_smoothing=0.1, divergence=kind)
    assert result.loss.item() == pytest.approx(0, abs=1e-12)
    for grad in grads(result.loss, hidden, weight):
        torch.testing.assert_close(grad, torch.zeros_like(grad))


def test_a_second_backward_is_refused():
    hidden, weight, _, target = leaves()
    loss = fused_loss(hidden, weight, target, 5.0).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_double_backward_is_refused():
    hidden, weight, _, target = leaves()
    with pytest.raises(RuntimeError, match="once only"):
        torch.autograd.grad(fused_loss(hidden, weight, target, 5.0).loss, hidden, create_graph=True)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"divergence": "jsd"}, ["'jsd'", *DIVERGENCES]),
        ({"hidden": torch.zeros(0, 3, 7)}, ["passes 0", ">= 1"]),
        ({"hidden": torch.zeros(2)}, ["[]", "D > 0"]),
        ({"target": torch.zeros(4, dtype=torch.long)}, ["[4]", "[3]"]),
        ({"target": torch.zeros(2, 3, dtype=torch.long)}, ["[2, 3]", "[3]"]),
        ({"weight": torch.zeros(11, 8)}, ["[11, 8]", "[V, 7]"]),
        ({"bias": torch.zeros(10)}, ["[10]", "[11]"]),
        ({"weight": torch.zeros(0, 7)}, ["[0, 7]", "V > 0"]),
        ({"hidden": torch.zeros(2, 3, 0), "weight": torch.zeros(11, 0)}, ["[3, 0]", "D > 0"]),
        ({"alpha": -1.0}, ["alpha -1.0", ">= 0"]),
        ({"alpha": math.nan}, ["alpha nan", ">= 0"]),
        ({"label_smoothing": 1.0}, ["label_smoothing 1.0", "[0, 1)"]),
        ({"label_smoothing": -0.1}, ["label_smoothing -0.1", "[0, 1)"]),
        ({"target": torch.tensor([0, 11, 3])}, ["target 11", "0 to 10"]),
        ({"target": torch.tensor([0, -100, 3]), "ignore_index": 1}, ["target -100", "0 to 10", "ignore_index (1)"]),
    ],
)
def test_errors_name_the_value_and_what_is_allowed(change, words):
    hidden, weight, _, target = leaves(shape=(3,))
    with pytest.raises(ValueError) as error:
        fused_loss(**({"hidden": hidden, "weight": weight, "target": target, "alpha": 5.0} | change))
    assert all(word in str(error.value) for word in words)
