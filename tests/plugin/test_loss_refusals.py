"""What rdrop_loss and linear_rdrop_loss refuse, and the warning where the passes are equal."""

import math

import pytest
import torch

from rdrop_fairseq import linear_rdrop_loss, rdrop_loss, watch
from rdrop_fairseq.divergence import DIVERGENCES

BATCH = 4
OUTPUTS, TARGET = torch.zeros(2 * BATCH, 5), torch.zeros(BATCH, dtype=torch.long)

# A warning


@pytest.fixture
def three_batches(monkeypatch):
    monkeypatch.setattr(watch, "WATCHED_BATCHES", 3)
    monkeypatch.setattr(watch, "_OF_THIS_PROCESS", watch.Watch())


def train(outputs, batches, fused, **options):
    for _ in range(batches):
        if fused:
            linear_rdrop_loss(outputs, torch.eye(5), TARGET, 1.0, **options)
        else:
            rdrop_loss(outputs, TARGET, 1.0, **options)


@pytest.mark.parametrize("fused", [False, True])
def test_equal_passes_get_one_warning(three_batches, fused, recwarn):
    equal = torch.cat([torch.randn(BATCH, 5)] * 2)
    with torch.no_grad():  # no training
        train(equal, 5, fused)
    train(equal, 2, fused)
    assert not recwarn
    train(equal, 5, fused)
    assert [str(warning.message)[:20] for warning in recwarn] == ["R-Drop has no effect"]


@pytest.mark.parametrize("fused", [False, True])
def test_passes_that_differ_later_get_none(three_batches, fused, recwarn):
    """As with a last layer whose weights start at 0."""
    train(torch.zeros(2 * BATCH, 5), 2, fused)
    train(torch.randn(2 * BATCH, 5), 5, fused)
    assert not recwarn


# What it refuses

NAN = torch.zeros(2 * BATCH, 5).index_fill(0, torch.tensor([3]), math.nan)
BINARY, MSE = {"loss": "binary_cross_entropy"}, {"loss": "mse"}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"outputs": torch.zeros(7, 5)}, ["outputs", "[7, 5]", "multiple of 2"]),
        ({"outputs": OUTPUTS, "passes": 3}, ["[8, 5]", "multiple of 3"]),
        ({"passes": 1}, ["passes 1", ">= 2"]),
        ({"passes": 2.0}, ["passes 2.0", ">= 2"]),
        ({"outputs": (torch.zeros(4, 5),)}, ["[[4, 5]]", "2 or more"]),
        ({"outputs": (torch.zeros(4, 5), torch.zeros(4, 6))}, ["[4, 6]", "one shape"]),
        ({"outputs": torch.zeros(8, 5, dtype=torch.long)}, ["int64", "floating"]),
        ({"outputs": torch.zeros(8)}, ["[4]", "[N, ..., C]"]),
        ({"outputs": torch.zeros(8, 0)}, ["[4, 0]", "C > 0"]),
        ({"target": torch.zeros(3, dtype=torch.long)}, ["target", "[3]", "must be [4]"]),
        ({"target": torch.zeros(8, dtype=torch.long)}, ["[8]", "must be [4]", "not repeated"]),
        ({"outputs": torch.zeros(8, 5, 3), "target": torch.zeros(4, 3, dtype=torch.long)}, ["movedim(1, -1)"]),
        ({"target": torch.zeros(4, 6)}, ["[4, 6]", "must be [4, 5]"]),
        ({"target": torch.tensor([0, 5, 1, 2])}, ["target 5", "0 to 4", "-100"]),
        ({"target": torch.tensor([0, -1, 1, 2])}, ["target -1", "0 to 4", "-100"]),
        ({"target": torch.full((4, 5), 1.5)}, ["target 1.5", "0 to 1", "mse"]),
        ({"outputs": NAN}, ["outputs", "NaN", "1 of 8"]),
        ({"outputs": OUTPUTS.index_fill(0, torch.tensor([3]), math.inf)}, ["infinity", "1 of 8"]),
        ({"outputs": NAN, "target": torch.zeros(4, 5), **BINARY}, ["NaN", "5 of 40"]),
        ({"outputs": NAN, "target": torch.zeros(4, 5), **MSE}, ["NaN", "5 of 40"]),
        ({"target": torch.full((4, 5), 2.0), **BINARY}, ["target 2", "0 to 1", "-100"]),
        ({"target": torch.full((4, 5), math.nan), **BINARY}, ["target nan", "0 to 1"]),
        ({"outputs": OUTPUTS + math.inf, "target": torch.zeros(4, 5), **BINARY}, ["outputs", "infinity", "40 of 40"]),
        ({"outputs": OUTPUTS + math.inf, "target": torch.zeros(4, 5), **MSE}, ["outputs", "infinity", "40 of 40"]),
        ({"target": torch.full((4, 5), math.nan), **MSE}, ["target", "NaN", "20 of 20"]),
        ({"target": torch.zeros(4), **BINARY}, ["[4]", "must be [4, 5]"]),
        ({"target": torch.zeros(4), **MSE}, ["[4]", "must be [4, 5]"]),
        ({"target": torch.zeros(4, 5), "label_smoothing": 0.1, **MSE}, ["label_smoothing 0.1", "must be 0"]),
        ({"target": torch.zeros(4, 5), "divergence": "js", **MSE}, ["'js'", "function"]),
        ({"divergence": "jsd"}, ["'jsd'", *DIVERGENCES]),
        ({"loss": "nll"}, ["'nll'", "cross_entropy", "mse"]),
        ({"reduction": "avg"}, ["'avg'", "mean, sum, none"]),
        ({"alpha": -1.0}, ["alpha -1.0", ">= 0"]),
        ({"alpha": math.nan}, ["alpha nan", ">= 0"]),
        ({"label_smoothing": 1.0}, ["label_smoothing 1.0", "[0, 1)"]),
        ({"weight": torch.ones(4)}, ["weight", "[4]", "[5]"]),
        ({"pass_weights": (1, 0, 0)}, ["pass_weights", "2 finite numbers"]),
        ({"pass_weights": (1, -1)}, ["pass_weights", ">= 0"]),
        ({"loss": "cross_entropy", "divergence": lambda p, q: (p - q) ** 2}, ["[4, 5]", "must be [4]"]),
    ],
)
def test_errors_name_the_value_and_what_is_allowed(change, words):
    with pytest.raises(ValueError) as error:
        rdrop_loss(**({"outputs": OUTPUTS, "target": TARGET, "alpha": 1.0} | change))
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    "change, words",
    [
        ({"target": [0, 1, 2, 3]}, "target of type list: must be a tensor"),
        ({"weight": [1.0] * 5}, "weight of type list: must be a tensor"),
        ({"alpha": None}, "alpha None: must be a number"),
        ({"alpha": "1"}, "alpha '1': must be a number"),
        ({"ignore_index": None}, "ignore_index None: must be a number"),
    ],
)
def test_arguments_of_another_type_are_named(fused, change, words):
    given = {"target": TARGET, "alpha": 1.0} | ({"weight": torch.eye(5)} if fused else {}) | change
    with pytest.raises(TypeError, match=f"^{words}"):
        (linear_rdrop_loss if fused else rdrop_loss)(OUTPUTS, **given)


def test_outputs_that_are_no_tensors_are_refused():
    with pytest.raises(TypeError, match="outputs of type dict: must be a tensor, or a tuple"):
        rdrop_loss({"logits": OUTPUTS}, TARGET, 1.0)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"reduction": "none"}, ["'none'", "rdrop_loss"]),
        ({"label_smoothing_impl": "keras"}, ["'keras'", "torch, fairseq"]),
        ({"hidden": torch.zeros(7, 5)}, ["hidden", "[7, 5]", "multiple of 2"]),
        ({"hidden": NAN}, ["hidden", "NaN"]),
        ({"pass_weights": (1,)}, ["pass_weights", "2 finite numbers"]),
        ({"target": torch.rand(4)}, ["target", "float32", "word indices"]),
    ],
)
def test_what_the_fused_loss_refuses(change, words):
    with pytest.raises(ValueError) as error:
        linear_rdrop_loss(**({"hidden": OUTPUTS, "weight": torch.eye(5), "target": TARGET, "alpha": 1.0} | change))
    assert all(word in str(error.value).replace('"', "'") for word in words), error.value


def test_nan_is_let_through_where_looking_for_it_is_not_wanted():
    assert linear_rdrop_loss(NAN, torch.eye(5), TARGET, 1.0, check=False).loss.isnan()
