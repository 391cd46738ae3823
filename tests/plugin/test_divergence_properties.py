"""Properties of the divergence, for logits drawn freely."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from support.lprobs import value_and_grad

from rdrop_fairseq.divergence import DIVERGENCES, divergence


# Property-based: logits drawn freely, up to the largest that training meets.
@st.composite
def logits_strategy(draw, largest=30.0):
    passes, positions, vocab = draw(st.tuples(st.integers(2, 4), st.integers(1, 3), st.integers(1, 6)))
    size = passes * positions * vocab
    numbers = draw(st.lists(st.floats(-largest, largest, width=32), min_size=size, max_size=size))
    return torch.tensor(numbers, dtype=torch.float64).view(passes, positions, vocab)


kinds = st.sampled_from(DIVERGENCES)


def tolerance(lprobs):
    return 1e-13 * max(1.0, float(lprobs.abs().max()))


@given(logits_strategy(), kinds, st.randoms(use_true_random=False))
def test_property_order_of_the_passes(logits, kind, random):
    lprobs = logits.log_softmax(-1)
    order = list(range(len(lprobs)))
    random.shuffle(order)
    if kind in ("symmetric", "js", "bhattacharyya"):
        exchanged = divergence(lprobs[order], kind)
    else:  # KL(p||q) of the passes turned round is KL(q||p)
        exchanged = divergence(lprobs.flip(0), {"forward": "reverse", "reverse": "forward"}[kind])
    torch.testing.assert_close(divergence(lprobs, kind), exchanged, rtol=1e-10, atol=tolerance(lprobs))


@given(logits_strategy())
def test_property_symmetric_is_the_mean_of_both_directions(logits):
    lprobs = logits.log_softmax(-1)
    mean = (divergence(lprobs, "forward") + divergence(lprobs, "reverse")) / 2
    torch.testing.assert_close(divergence(lprobs, "symmetric"), mean, rtol=1e-10, atol=tolerance(lprobs))


@given(logits_strategy(), kinds)
def test_property_not_negative(logits, kind):
    lprobs = logits.log_softmax(-1)
    assert (divergence(lprobs, kind) >= -tolerance(lprobs)).all()


@given(logits_strategy())
def test_property_js_at_most_log_two(logits):
    lprobs = logits.log_softmax(-1)
    assert (divergence(lprobs, "js") <= math.log(2) + tolerance(lprobs)).all()


@given(logits_strategy(largest=1e4), kinds, st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
def test_property_finite_at_large_logits(logits, kind, dtype):
    value, grad = value_and_grad(lambda x: divergence(x.log_softmax(-1), kind), logits.to(dtype))
    assert value.dtype == torch.float32 and grad.dtype == dtype
    assert value.isfinite().all() and grad.isfinite().all()


@given(logits_strategy(), kinds, st.randoms(use_true_random=False))
def test_property_permutation_of_the_vocabulary(logits, kind, random):
    lprobs = logits.log_softmax(-1)
    words = list(range(lprobs.size(-1)))
    random.shuffle(words)
    value, grad = value_and_grad(divergence, lprobs, kind)
    permuted, permuted_grad = value_and_grad(divergence, lprobs[..., words], kind)
    torch.testing.assert_close(permuted, value, rtol=1e-10, atol=tolerance(lprobs))
    torch.testing.assert_close(permuted_grad, grad[..., words], rtol=1e-10, atol=tolerance(lprobs))


@given(logits_strategy(), kinds)
def test_property_m_passes_equal_the_loop_over_pairs(logits, kind):
    lprobs = logits.log_softmax(-1)
    pairs = [(i, j) for i in range(len(lprobs)) for j in range(i + 1, len(lprobs))]
    mean = sum(divergence(lprobs[[i, j]], kind) for i, j in pairs) / len(pairs)
    torch.testing.assert_close(divergence(lprobs, kind), mean, rtol=1e-10, atol=tolerance(lprobs))
