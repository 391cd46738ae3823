"""rdrop_loss: every kind of target against loops and torch's own losses, value and gradient."""

import math

import pytest
import reference
import torch
import torch.nn.functional as F
from support.lprobs import every_kind

from rdrop_fairseq import linear_rdrop_loss, rdrop_loss
from rdrop_fairseq.divergence import DIVERGENCES

IGNORED = -100
BATCH = 4


def draw(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def classes(*shape, ignore=True, seed=0):
    target = torch.randint(5, shape, generator=torch.Generator().manual_seed(seed))
    if ignore:
        target.view(-1)[1] = IGNORED
    return target


def grad(loss, *tensors):
    return torch.autograd.grad(loss, tensors, retain_graph=True)


def assert_equal(actual, expected, outputs):
    """Value and gradient are equal, and the gradient is not 0."""
    torch.testing.assert_close(actual, expected)
    (ours,), (theirs,) = grad(actual.sum(), outputs), grad(expected.sum(), outputs)
    torch.testing.assert_close(ours, theirs)
    assert ours.any()


def bernoulli(z):
    """Log-probabilities ``[..., 2]`` of 1 and 0, from logits."""
    return torch.stack([-torch.log(1 + torch.exp(-z)), -torch.log(1 + torch.exp(z))], -1)


# Numbers by hand


def test_numbers_by_hand():
    # p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4), class 2: 2 + 2 in units of ln 2, and 1/4 for the divergence.
    outputs = torch.tensor([[1 / 2, 1 / 4, 1 / 4], [1 / 4, 1 / 2, 1 / 4]]).log()
    target = torch.tensor([2])
    assert rdrop_loss(outputs, target, 0.0).item() / math.log(2) == pytest.approx(4)
    assert rdrop_loss(outputs, target, 4.0).item() / math.log(2) == pytest.approx(5)
    assert rdrop_loss(outputs, None, 4.0).item() / math.log(2) == pytest.approx(1)
    assert rdrop_loss(outputs, target, 4.0, pass_weights=(1, 0)).item() / math.log(2) == pytest.approx(3)


def test_real_numbers_by_hand():
    # (1 - 2)^2 + (4 - 2)^2 + 0.5 (1 - 4)^2, and a second sample where all agree.
    outputs, target = torch.tensor([1.0, 3.0, 4.0, 3.0]), torch.tensor([2.0, 3.0])
    assert rdrop_loss(outputs, target, 0.5, loss="mse", reduction="none").tolist() == [9.5, 0]
    assert rdrop_loss(outputs, target, 0.5, loss="mse").item() == 9.5 / 2
    assert rdrop_loss(outputs, None, 0.5, loss="mse", reduction="sum").item() == 4.5


# Values and gradients


@every_kind
@pytest.mark.parametrize("passes", [2, 3])
@pytest.mark.parametrize("shape", [(), (3,), (2, 1)], ids=["classes", "sequence", "picture"])
def test_class_indices_equal_the_reference(kind, passes, shape):
    outputs, target = draw(passes * BATCH, *shape, 5), classes(BATCH, *shape)
    expected = reference.rdrop(outputs.unflatten(0, (passes, BATCH)), target, 0.7, kind=kind, padding_idx=IGNORED).loss
    options = {"passes": passes, "divergence": kind}
    assert_equal(rdrop_loss(outputs, target, 0.7, reduction="sum", **options), expected, outputs)
    count = target.ne(IGNORED).sum()
    assert_equal(rdrop_loss(outputs, target, 0.7, **options), expected / count, outputs)
    each = rdrop_loss(outputs, target, 0.7, reduction="none", **options)
    assert each.shape == target.shape and each[target == IGNORED] == 0
    assert_equal(each.sum(), expected, outputs)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("probabilities", [False, True])
def test_the_loss_of_the_task_is_torchs_own(weighted, epsilon, reduction, probabilities):
    outputs, target = draw(2 * BATCH, 3, 5), classes(BATCH, 3)
    if probabilities:
        target = draw(BATCH, 3, 5, seed=1).detach().softmax(-1)
    options = {
        "weight": torch.tensor([1, 0.5, 2, 0.1, 3], dtype=torch.float64) if weighted else None,
        "label_smoothing": epsilon,
        "reduction": reduction,
    }
    second = target.movedim(-1, 1) if probabilities else target
    each = [F.cross_entropy(one.movedim(-1, 1), second, **options) for one in outputs.chunk(2)]
    assert_equal(rdrop_loss(outputs, target, 0.0, **options), sum(each), outputs)
    weighted_passes = rdrop_loss(outputs, target, 0.0, pass_weights=(0.5, 3), **options)
    assert_equal(weighted_passes, 0.5 * each[0] + 3 * each[1], outputs)
    # And the divergence is added, over the positions that count, without weights of classes or smoothing.
    options |= {"weight": None, "label_smoothing": 0.0}
    kept = torch.ones(BATCH, 3) if probabilities else target.ne(IGNORED)
    kl = reference.divergence(outputs.log_softmax(-1).unflatten(0, (2, BATCH))) * kept
    kl = {"mean": kl.sum() / kept.sum(), "sum": kl.sum(), "none": kl}[reduction]
    alone = rdrop_loss(outputs, target, 0.0, **options)
    assert_equal(rdrop_loss(outputs, target, 0.7, **options), alone + 0.7 * kl, outputs)


@every_kind
@pytest.mark.parametrize("passes", [2, 3])
@pytest.mark.parametrize("shape", [(BATCH,), (BATCH, 3)], ids=["one label", "labels"])
def test_binary_targets(kind, passes, shape):
    outputs = draw(passes * shape[0], *shape[1:])
    target = torch.randint(2, shape, generator=torch.Generator().manual_seed(1)).double()
    target.view(-1)[1], target.view(-1)[2] = IGNORED, 0.3
    kept = target.ne(IGNORED)
    split = outputs.unflatten(0, (passes, shape[0]))
    lprobs = bernoulli(split)
    task = -(target * lprobs[..., 0] + (1 - target) * lprobs[..., 1]).sum(0)
    each = (task + 0.7 * reference.divergence(lprobs, kind)) * kept
    options = {"passes": passes, "divergence": kind, "loss": "binary_cross_entropy"}
    assert_equal(rdrop_loss(outputs, target, 0.7, reduction="none", **options), each, outputs)
    assert_equal(rdrop_loss(outputs, target, 0.7, **options), each.sum() / kept.sum(), outputs)


def test_binary_targets_as_whole_numbers_with_smoothing_and_weights():
    outputs, target = draw(2 * BATCH, 3), torch.randint(2, (BATCH, 3))
    weight = torch.tensor([1, 2, 0.5], dtype=torch.float64)
    smooth = target * 0.8 + 0.1
    expected = [F.binary_cross_entropy_with_logits(one, smooth.double(), weight) for one in outputs.chunk(2)]
    options = {"loss": "binary_cross_entropy", "label_smoothing": 0.2, "weight": weight}
    assert_equal(rdrop_loss(outputs, target, 0.0, **options), sum(expected), outputs)


@pytest.mark.parametrize("passes", [2, 3])
def test_real_numbers(passes):
    outputs, target = draw(passes * BATCH, 2), draw(BATCH, 2, seed=1).detach()
    each = outputs.chunk(passes)
    task = sum((one - target) ** 2 for one in each)
    pairs = [(each[i] - each[j]) ** 2 for i in range(passes) for j in range(i)]
    expected = task + 0.7 * sum(pairs) / len(pairs)
    options = {"passes": passes, "loss": "mse"}
    assert_equal(rdrop_loss(outputs, target, 0.7, reduction="none", **options), expected, outputs)
    assert_equal(rdrop_loss(outputs, target, 0.7, **options), expected.mean(), outputs)


def distance(reference, output):
    """Return some D of the general form, which is not symmetric."""
    return ((reference - output).abs() * (1 + reference.abs())).sum(-1)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_general_form(reduction):
    outputs, target = draw(2 * BATCH, 3), draw(BATCH, 3, seed=1).detach()
    first, second = outputs.chunk(2)
    both = distance(first, second) + distance(second, first)
    expected = distance(target, first) + distance(target, second) + 3.0 / 2 * both
    reduce = {"mean": torch.mean, "sum": torch.sum, "none": torch.clone}[reduction]
    actual = rdrop_loss(outputs, target, 3.0, divergence=distance, reduction=reduction)
    assert_equal(actual, reduce(expected), outputs)
    alone = rdrop_loss(outputs, None, 3.0, divergence=distance, reduction=reduction)
    assert_equal(alone, reduce(3.0 / 2 * both), outputs)
    without = rdrop_loss(outputs, target, 0.0, divergence=distance, reduction=reduction)
    assert_equal(without, reduce(distance(target, first) + distance(target, second)), outputs)


def test_a_function_beside_a_loss_with_a_name():
    outputs, target = draw(2 * BATCH, 5), classes(BATCH)
    first, second = outputs.chunk(2)
    kl = (distance(first, second) + distance(second, first)) / 2 * target.ne(IGNORED)
    actual = rdrop_loss(outputs, target, 3.0, loss="cross_entropy", divergence=distance)
    assert_equal(actual, rdrop_loss(outputs, target, 0.0) + 3.0 * kl.sum() / 3, outputs)


@pytest.mark.parametrize("loss", [None, "binary_cross_entropy", "mse"])
def test_without_a_target_it_is_the_divergence_alone(loss):
    outputs = draw(2 * BATCH, 5)
    target = torch.zeros(BATCH, dtype=torch.long) if loss is None else torch.ones(BATCH, 5, dtype=torch.float64)
    with_target = rdrop_loss(outputs, target, 0.7, loss=loss) - rdrop_loss(outputs, target, 0.0, loss=loss)
    assert_equal(rdrop_loss(outputs, None, 0.7, loss=loss), with_target, outputs)
    assert rdrop_loss(outputs, None, 0.0, loss=loss).item() == 0


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_gradcheck(kind, loss):
    target = classes(2, 2) if loss == "cross_entropy" else torch.ones(2, 2, 5, dtype=torch.float64)
    options = {"loss": loss, "divergence": kind, "passes": 3, "label_smoothing": 0.1, "pass_weights": (1, 0.5, 0)}
    assert torch.autograd.gradcheck(lambda x: rdrop_loss(x, target, 0.7, **options), draw(6, 2, 5))


def test_a_tuple_of_passes_says_how_many_there_are():
    outputs, target = draw(3 * BATCH, 5), classes(BATCH)
    expected = rdrop_loss(outputs, target, 0.7, passes=3)
    assert torch.equal(rdrop_loss(outputs.chunk(3), target, 0.7), expected)
    assert torch.equal(rdrop_loss(list(outputs.chunk(3)), target, 0.7), expected)


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_ignored_reaches_nothing(hidden, value):
    outputs, target = draw(2 * BATCH, 5), classes(BATCH)
    filled = outputs.detach().clone()
    filled[[1, 1 + BATCH]] = value
    filled.requires_grad_()
    weight = torch.eye(5, dtype=torch.float64)
    one, other = (
        linear_rdrop_loss(x, weight, target, 0.7).loss if hidden else rdrop_loss(x, target, 0.7)
        for x in (filled, outputs)
    )
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(grad(one, filled), grad(other, outputs))


@pytest.mark.parametrize("loss", [None, "binary_cross_entropy", "mse"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_nothing_to_count_is_zero(loss, reduction):
    outputs = draw(2 * BATCH, 5)
    target = torch.full((BATCH,), IGNORED) if loss is None else torch.full((BATCH, 5), float(IGNORED))
    if loss == "mse":
        outputs, target = draw(0, 5), torch.zeros(0, 5)
    value = rdrop_loss(outputs, target, 0.7, loss=loss, reduction=reduction)
    assert value.item() == 0
    assert not grad(value, outputs)[0].any()
    weight = torch.ones(5, dtype=torch.float64)
    assert loss or rdrop_loss(outputs, target, 0.7, weight=weight, reduction=reduction).item() == 0


@pytest.mark.parametrize("loss", [None, "binary_cross_entropy", "mse"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_as_exact_as_its_inputs(loss, dtype, autocast):
    halves = draw(2 * BATCH, 5, dtype=dtype)
    target = classes(BATCH) if loss is None else torch.ones(BATCH, 5)
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        actual = rdrop_loss(halves, target, 5.0, loss=loss)
    doubles = halves.detach().double().requires_grad_()
    expected = rdrop_loss(doubles, target, 5.0, loss=loss)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-6)
    (ours,), (exact,) = grad(actual, halves), grad(expected, doubles)
    torch.testing.assert_close(ours.double(), exact, rtol=4 * torch.finfo(dtype).eps, atol=2e-4)


def test_it_compiles():
    outputs, target = draw(2 * BATCH, 5), classes(BATCH)
    compiled = torch.compile(rdrop_loss, backend="eager")
    assert_equal(compiled(outputs, target, 0.7), rdrop_loss(outputs, target, 0.7), outputs)


# The fused loss


@pytest.mark.parametrize("passes", [2, 3])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weights", [None, (1.0, 0.0, 0.3)])
@pytest.mark.parametrize("kind", ["symmetric", "forward", "js", "bhattacharyya"])
def test_the_fused_loss_has_the_same_conventions(passes, epsilon, reduction, weights, kind):
    hidden, target = draw(passes * BATCH, 3, 6), classes(BATCH, 3)
    leaf = [hidden, draw(5, 6, seed=1), draw(5, seed=2)]
    options = {"reduction": reduction, "pass_weights": weights and weights[:passes], "label_smoothing": epsilon}
    options |= {"passes": passes, "divergence": kind}
    result = linear_rdrop_loss(hidden, leaf[1], target, 0.7, bias=leaf[2], **options)
    outputs = F.linear(*leaf)
    expected = rdrop_loss(outputs, target, 0.7, **options)
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(grad(3 * result.loss, *leaf), grad(3 * expected, *leaf))
    sums = reference.rdrop(
        outputs.unflatten(0, (passes, BATCH)), target, 0.7, 0.0, kind, IGNORED, weights and weights[:passes]
    )
    size = target.ne(IGNORED).sum() if reduction == "mean" else 1
    torch.testing.assert_close(result.kl_loss, sums.kl_loss.detach() / size)
    torch.testing.assert_close(result.nll_loss, sum((weights or (1,) * 3)[:passes]) * sums.nll_loss.detach() / size)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, (0.5,)])
@pytest.mark.parametrize("kind", DIVERGENCES)
def test_the_fused_loss_of_one_pass_is_cross_entropy(epsilon, weights, kind):
    hidden, weight, target = draw(BATCH, 6), draw(5, 6, seed=1), classes(BATCH)
    options = {"label_smoothing": epsilon, "divergence": kind, "pass_weights": weights}
    result = linear_rdrop_loss(hidden, weight, target, 0.7, passes=1, **options)
    logits = F.linear(hidden, weight)
    expected = (weights or (1,))[0] * F.cross_entropy(logits, target, ignore_index=IGNORED, label_smoothing=epsilon)
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(grad(result.loss, hidden, weight), grad(expected, hidden, weight))
    assert result.kl_loss == 0


def test_smoothing_as_in_fairseq():
    hidden, target = draw(2 * BATCH, 5), classes(BATCH)
    expected = reference.rdrop(hidden.unflatten(0, (2, BATCH)), target, 0.7, 0.1, padding_idx=IGNORED).loss / 3
    options = {"label_smoothing": 0.1, "label_smoothing_impl": "fairseq"}
    result = linear_rdrop_loss(hidden.chunk(2), torch.eye(5, dtype=torch.float64), target, 0.7, **options)
    assert_equal(result.loss, expected, hidden)
