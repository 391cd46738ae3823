"""The divergence: numbers by hand, value and gradient against reference.py, and what it refuses."""

import math

import pytest
import reference
import torch
from support.lprobs import every_kind, random_lprobs, value_and_grad

from rdrop_fairseq.divergence import DIVERGENCES, divergence

# p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4), in units of ln 2: log p = (-1, -2, -2), log q = (-2, -1, -2).
# KL(p||q) = 1/2 * 1 + 1/4 * -1 + 1/4 * 0 = 1/4;  KL(q||p) = 1/4 * -1 + 1/2 * 1 + 0 = 1/4.
# r = (1/4, 1/4, 1/2): log r = (-2, -2, -1). KL(p||r) = 1/2 * 1 + 0 + 1/4 * -1 = 1/4, likewise all pairs of p, q, r.
# s = (1/2, 3/8, 1/8): KL(p||s) = 0 + 1/4 * log2(2/3) + 1/4 * log2(2) = 1/2 - 1/4 * log2(3)
#                      KL(s||p) = 0 + 3/8 * log2(3/2) + 1/8 * log2(1/2) = 3/8 * log2(3) - 1/2
# js(p, q): m = (3/8, 3/8, 1/4). KL(p||m) = 1/2 * log2(4/3) + 1/4 * log2(2/3) + 0
#                                         = 1/2 * (2 - log2(3)) + 1/4 * (1 - log2(3)) = 5/4 - 3/4 * log2(3) = KL(q||m)
# bhattacharyya(p, q): sqrt(1/8) + sqrt(1/8) + 1/4 = 2^(-1/2) + 1/4, and -log2 of it
P, Q, R, S = (0.5, 0.25, 0.25), (0.25, 0.5, 0.25), (0.25, 0.25, 0.5), (0.5, 0.375, 0.125)


@pytest.mark.parametrize(
    "probs, kind, expected",
    [
        ((P, Q), "symmetric", 1 / 4),
        ((P, Q), "forward", 1 / 4),
        ((P, Q, R), "symmetric", 1 / 4),
        ((P, S), "forward", 1 / 2 - math.log2(3) / 4),
        ((P, S), "reverse", 3 / 8 * math.log2(3) - 1 / 2),
        ((S, P), "forward", 3 / 8 * math.log2(3) - 1 / 2),
        ((P, S), "symmetric", math.log2(3) / 16),
        ((P, P, S), "symmetric", math.log2(3) / 16 * 2 / 3),  # two of the three pairs differ
        ((P, P, S), "forward", (1 / 2 - math.log2(3) / 4) * 2 / 3),  # p1, p2 before s
        ((S, P, P), "forward", (3 / 8 * math.log2(3) - 1 / 2) * 2 / 3),
        ((P, Q), "js", 5 / 4 - 3 / 4 * math.log2(3)),
        ((P, Q), "bhattacharyya", -math.log2(2**-0.5 + 1 / 4)),
        ((P, P, Q), "bhattacharyya", -math.log2(2**-0.5 + 1 / 4) * 2 / 3),
    ],
)
def test_numbers_by_hand(probs, kind, expected):
    lprobs = torch.tensor(probs, dtype=torch.float64).log()
    assert divergence(lprobs, kind).item() == pytest.approx(expected * math.log(2), rel=1e-12)
    assert reference.divergence(lprobs, kind).item() == pytest.approx(expected * math.log(2), rel=1e-12)


def test_gradient_by_hand():
    # By the logits of p: 1/2 [p (d - sum(p d)) + (p - q)] with d = log p - log q. For P and Q in units of
    # ln 2: d = (1, -1, 0), sum(p d) = 1/4. p (d - 1/4) = (3/8, -5/16, -1/16); p - q = (1/4, -1/4, 0) in units of 1.
    logits = torch.tensor([P, Q], dtype=torch.float64).log().requires_grad_()
    divergence(logits.log_softmax(-1)).backward()
    two = math.log(2)
    by_p = [(3 / 8 * two + 1 / 4) / 2, (-5 / 16 * two - 1 / 4) / 2, -1 / 16 * two / 2]
    by_q = [by_p[1], by_p[0], by_p[2]]
    torch.testing.assert_close(logits.grad, torch.tensor([by_p, by_q], dtype=torch.float64))


@every_kind
@pytest.mark.parametrize("passes", [2, 3, 4])
def test_value_and_gradient_equal_the_reference(kind, passes):
    lprobs = random_lprobs(passes, 5, 7, seed=passes)
    actual = value_and_grad(divergence, lprobs, kind)
    expected = value_and_grad(reference.divergence, lprobs, kind)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def test_bhattacharyya_is_the_divergence_of_cutoff():
    """Shen et al. (2020) have 1/2 [KL(m || p) + KL(m || q)], with m the softmax of the mean of the logits."""
    logits = 3 * torch.randn(2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    middle = reference.log_softmax((logits[0] + logits[1]) / 2)
    of_cutoff = sum(reference.kl(middle, reference.log_softmax(one)) for one in logits) / 2
    torch.testing.assert_close(divergence(logits.log_softmax(-1), "bhattacharyya"), of_cutoff, rtol=1e-13, atol=0)


@every_kind
@pytest.mark.parametrize("passes", [2, 3])
def test_gradcheck(kind, passes):
    logits = random_lprobs(passes, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: divergence(x.log_softmax(-1), kind), logits)
    assert torch.autograd.gradcheck(lambda x: divergence(x, kind), logits)  # free variables, as documented


def test_symmetric_is_the_default():
    lprobs = random_lprobs(2, 3, 5)
    assert torch.equal(divergence(lprobs), divergence(lprobs, "symmetric"))


@every_kind
@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,), (2, 1, 3)])
def test_shapes(kind, shape):
    lprobs = random_lprobs(3, *shape, 6)
    value, grad = value_and_grad(divergence, lprobs, kind)
    assert value.shape == shape and grad.shape == lprobs.shape
    flat = lprobs.reshape(3, -1, 6) if lprobs.numel() else lprobs
    assert torch.equal(value.flatten(), divergence(flat, kind).flatten())


@every_kind
def test_non_contiguous_input(kind):
    lprobs = random_lprobs(2, 4, 3, 5)
    for view in (lprobs.transpose(1, 2), lprobs.permute(0, 3, 1, 2), lprobs[:, ::2], lprobs[:, :1].expand(-1, 4, 3, 5)):
        assert not view.is_contiguous()
        actual, expected = (value_and_grad(divergence, x, kind) for x in (view, view.contiguous()))
        torch.testing.assert_close(actual, expected, rtol=1e-14, atol=0)
    leaf = lprobs.clone().requires_grad_()
    divergence(leaf.transpose(1, 2), kind).backward(torch.ones(3, 4, dtype=leaf.dtype))
    other = lprobs.clone().requires_grad_()
    divergence(other, kind).backward(torch.ones(4, 3, dtype=leaf.dtype))
    torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_logits_are_refused(dtype):
    logits = torch.randn(2, 3, 4, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    for wrong in (logits, logits - 10, logits[:, 0, 0]):
        with pytest.raises(ValueError, match=r"instead of 1: must be log-probabilities; of logits take log_softmax"):
            divergence(wrong)
    assert divergence(logits, check=False).shape == (3, 4)
    assert divergence(logits.log_softmax(-1)).shape == (3, 4)
    assert divergence(logits[:, :0]).shape == (0, 4)
    with pytest.raises(ValueError, match=r"\[2, 3, 0\].*V > 0"):
        divergence(torch.zeros(2, 3, 0))


@pytest.mark.parametrize("masked", [0.0, -math.inf, math.nan])
def test_positions_masked_by_one_number_are_no_logits(masked):
    """Left padding in all sentences: the positions that are looked at may all be in the masked column."""
    lprobs = random_lprobs(2, 8 * 5, 20).unflatten(1, (8, 5))
    lprobs[:, :, 0] = masked
    assert divergence(lprobs)[:, 1:].isfinite().all()


@every_kind
def test_a_position_that_is_left_out_gets_no_gradient(kind):
    """Whatever it holds: a word forbidden in one pass, or no number."""
    lprobs = random_lprobs(2, 6, 20)
    lprobs[0, 1, 3] = -math.inf
    lprobs[:, 4] = math.nan
    lprobs.requires_grad_()
    kept = [0, 2, 3, 5]
    divergence(lprobs, kind)[kept].sum().backward()
    assert not lprobs.grad[:, [1, 4]].any()
    alone = lprobs[:, kept].detach().requires_grad_()
    divergence(alone, kind).sum().backward()
    torch.testing.assert_close(lprobs.grad[:, kept], alone.grad)


@every_kind
@pytest.mark.parametrize("chunk", [1, 29, 30, 31, 60, 10**6])
def test_chunk_boundaries(kind, chunk, monkeypatch):
    lprobs = random_lprobs(3, 7, 10)  # 30 elements a position
    whole = value_and_grad(divergence, lprobs, kind)
    monkeypatch.setattr("rdrop_fairseq.divergence._CHUNK", {"cpu": chunk})
    torch.testing.assert_close(value_and_grad(divergence, lprobs, kind), whole, rtol=1e-14, atol=1e-16)


@every_kind
@pytest.mark.parametrize("passes", [2, 3, 4])
def test_exactly_zero_where_the_passes_agree(kind, passes):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        logits = random_lprobs(1, 64, 50, scale=4).to(dtype).repeat(passes, 1, 1)
        value, grad = value_and_grad(lambda x: divergence(x.log_softmax(-1), kind), logits)
        assert not value.any(), dtype
        # The terms cancel as far as the probabilities, rounded to dtype, sum to 1.
        assert grad.abs().max() <= 8 * torch.finfo(dtype).eps, dtype


@every_kind
def test_words_impossible_in_all_passes_contribute_nothing(kind):
    logits = random_lprobs(3, 4, 6)
    masked = logits.clone()
    masked[..., [1, 4]] = -math.inf
    value, grad = value_and_grad(lambda x: divergence(x.log_softmax(-1), kind), masked)
    kept = [0, 2, 3, 5]
    expected, expected_grad = value_and_grad(lambda x: divergence(x.log_softmax(-1), kind), logits[..., kept])
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(grad[..., kept], expected_grad)
    assert not grad[..., [1, 4]].any()


@every_kind
def test_not_a_number_stays_one(kind):
    """A model that diverged is seen, not taken for two passes that agree."""
    lprobs = random_lprobs(2, 3, 4)
    lprobs[1, 1, 2] = math.nan
    value, grad = value_and_grad(divergence, lprobs, kind)
    assert value.isnan().tolist() == [False, True, False]
    assert grad[:, 1].isnan().any() and grad[:, [0, 2]].isfinite().all()


@every_kind
def test_a_word_impossible_in_one_pass(kind):
    # KL(p||q) with p_v = 0 < q_v: that word counts 0 log 0 = 0 in KL(p||q) and makes KL(q||p) infinite.
    lprobs = torch.tensor([(0.5, 0.5, 0.0), (0.25, 0.25, 0.5)], dtype=torch.float64).log()
    expected = {"forward": math.log(2), "reverse": math.inf, "symmetric": math.inf}
    expected["js"] = reference.divergence(lprobs, "js").item()
    expected["bhattacharyya"] = math.log(2) / 2  # -log(2 sqrt(1/2 * 1/4))
    assert reference.divergence(lprobs, kind).item() == pytest.approx(expected[kind])
    value, grad = value_and_grad(divergence, lprobs, kind)
    assert value.item() == pytest.approx(expected[kind])
    if value.isfinite():
        torch.testing.assert_close(grad, value_and_grad(reference.divergence, lprobs, kind)[1])


@every_kind
def test_extreme_logits_have_the_known_value(kind):
    # Two one-hot distributions on different words, 2e4 nats apart: KL is 2e4, js is ln 2, and bhattacharyya
    # -log(2 exp(-1e4)).
    logits = torch.tensor([(1e4, -1e4), (-1e4, 1e4)])
    expected = {"js": math.log(2), "bhattacharyya": 1e4 - math.log(2)}.get(kind, 2e4)
    for dtype in (torch.float16, torch.float32):
        assert divergence(logits.to(dtype).log_softmax(-1), kind).item() == pytest.approx(expected)


def test_backward_twice_is_refused():
    # A gradient penalty must not silently miss the divergence's second derivative.
    logits = random_lprobs(2, 3, 4).requires_grad_()
    with pytest.raises(RuntimeError, match=r"once|twice"):
        (grad,) = torch.autograd.grad(divergence(logits.log_softmax(-1)).sum(), logits, create_graph=True)
        grad.square().sum().backward()


def test_input_is_unchanged_and_no_grad_works():
    lprobs = random_lprobs(2, 3, 4).requires_grad_()
    before = lprobs.detach().clone()
    value = divergence(lprobs)
    value.sum().backward()
    with torch.no_grad():
        without = divergence(lprobs)
    assert torch.equal(lprobs, before)
    assert torch.equal(value, without) and value.requires_grad and not without.requires_grad


@pytest.mark.parametrize(
    "lprobs, kind, words",
    [
        (torch.zeros(2, 3), "jsd", ["'jsd'", *DIVERGENCES]),
        (torch.zeros(2, 3), "", ["''"]),
        (torch.zeros(1, 4, 3), "symmetric", ["[1, 4, 3]", "2 passes"]),
        (torch.zeros(3), "symmetric", ["[3]"]),
        (torch.zeros(()), "symmetric", ["[]"]),
    ],
)
def test_errors_name_the_value_and_what_is_allowed(lprobs, kind, words):
    with pytest.raises(ValueError) as error:
        divergence(lprobs, kind)
    assert all(word in str(error.value) for word in words)
