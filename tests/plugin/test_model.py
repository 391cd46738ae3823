"""RDrop: the passes of any model, in one forward or in several, and the warning where they are equal."""

import dataclasses
from collections import OrderedDict, UserDict
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from support.toy_models import LayerDropStack, Toy
from torch import nn

from rdrop_fairseq import DropoutRateError, RDrop, rdrop_loss
from rdrop_fairseq.passes import map_tensors

X = torch.arange(12.0).view(3, 4)


class Pair(NamedTuple):
    left: torch.Tensor
    right: Any


@dataclasses.dataclass(frozen=True)
class Batch:
    tokens: torch.Tensor
    name: str


class Recorder(nn.Module):
    """Returns what it is given, and has a dropout."""

    def __init__(self, *modules):
        super().__init__()
        self.layers = nn.ModuleList(modules or [nn.Dropout(0.5)])
        self.calls = []

    def forward(self, *args, **kwargs):
        self.calls.append((args, kwargs))
        return args, kwargs


STRUCTURES = {
    "tensor": X,
    "list": [X, [X]],
    "tuple": (X, None),
    "named tuple": Pair(X, "text"),
    "dict": {"a": X, "b": {"c": X}},
    "ordered dict": OrderedDict(a=X),
    "a mapping of its own class": UserDict(a=X),
    "dataclass": Batch(X, "text"),
}


def tensors_of(value):
    found = []
    map_tensors(found.append, value)
    return found


@pytest.mark.parametrize("passes", [2, 3])
@pytest.mark.parametrize("name", STRUCTURES)
def test_tensors_of_the_batch_are_repeated_at_any_depth(name, passes):
    model, value = Recorder(), STRUCTURES[name]
    (args, kwargs) = RDrop(model, passes)(value, key=value)
    assert len(model.calls) == 1
    for seen in (args[0], kwargs["key"]):
        assert type(seen) is type(value)
        assert len(tensors_of(seen)) == len(tensors_of(value)) > 0
        assert all(torch.equal(tensor, torch.cat([X] * passes)) for tensor in tensors_of(seen))
    assert all(tensor is X for tensor in tensors_of(value))  # the caller's own is left as it is


def test_a_mapping_that_cannot_change_becomes_a_dict():
    assert torch.equal(map_tensors(torch.neg, MappingProxyType({"a": X}))["a"], -X)


def test_what_is_not_of_the_batch_is_shared():
    scale, positions, square = torch.tensor(2.0), torch.arange(4), torch.ones(3, 3)
    model = Recorder()
    _, kwargs = RDrop(model, shared=("square",))(X, scale=scale, positions=positions, square=square, flag=True)
    assert kwargs["scale"] is scale and kwargs["positions"] is positions and kwargs["flag"] is True
    assert kwargs["square"] is square
    assert RDrop(model)(X, square=square)[1]["square"].shape == (6, 3)


def hugging_face(layerdrop):
    """Return a model that keeps its LayerDrop in its config."""
    model = Toy(nn.Linear(4, 4), nn.Dropout(0.5))
    model.config = type("Config", (), {"encoder_layerdrop": layerdrop})()
    return model


@pytest.mark.parametrize(
    "model, separate",
    [
        (Toy(nn.Linear(4, 4), nn.Dropout(0.5)), False),
        (Toy(nn.BatchNorm1d(4), nn.Dropout(0.5)), True),
        (Toy(nn.BatchNorm1d(4).eval(), nn.Dropout(0.5)), False),
        (Toy(nn.LayerNorm(4), nn.Dropout(0.5)), False),
        (Toy(LayerDropStack(0.5)), True),
        (Toy(nn.LSTM(4, 4), nn.Dropout(0.5)), True),
        (hugging_face(0.0), False),
        (hugging_face(0.1), True),
    ],
)
@pytest.mark.parametrize("passes", [2, 3])
def test_one_forward_or_several(model, separate, passes):
    model.batch_sizes.clear()
    outputs = RDrop(model, passes)(X)
    assert model.batch_sizes == ([3] * passes if separate else [3 * passes])
    assert outputs[0].shape == (3 * passes, 4) and isinstance(outputs, tuple)
    assert outputs[1:] == ({"call": 1}, None)  # of the first pass


def test_separate_forwards_give_what_two_calls_give():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    torch.manual_seed(2)
    expected = torch.cat([model(X), model(X)])
    torch.manual_seed(2)
    assert torch.equal(RDrop(model)(X), expected)


def test_all_that_is_of_the_batch_is_joined():
    class Output(OrderedDict):
        """As Hugging Face's: a dict of tensors."""

    class Model(Recorder):
        def forward(self, x):
            return Output(loss=torch.tensor(float(len(self.calls))), logits=2 * x, states=(x, x), rest=torch.ones(5))

    output = RDrop(Model(nn.BatchNorm1d(4), nn.Dropout(0.5)))(X)
    assert isinstance(output, Output)
    assert torch.equal(output["logits"], 2 * torch.cat([X, X]))
    assert output["states"][1].shape == (6, 4) and output["rest"].shape == (5,) and output["loss"].dim() == 0


def test_a_dropout_rate_for_each_pass():
    model = nn.Dropout(0.3)
    torch.manual_seed(1)
    first, second = RDrop(model, dropouts=(0.0, 0.9))(torch.ones(200)).chunk(2)
    assert torch.equal(first, torch.ones(200))
    assert (second == 0).float().mean() > 0.7
    assert model.p == 0.3
    with pytest.raises(DropoutRateError):
        RDrop(nn.Linear(4, 4), dropouts=(0.1, 0.2))(X)


def test_it_leaves_the_model_alone():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    keys = list(model.state_dict())
    step = RDrop(model)
    step(X).sum().backward()
    assert list(model.state_dict()) == keys and model[0].weight.grad.any()
    assert not isinstance(step, nn.Module)


# The warning

NO_EFFECT = "R-Drop has no effect"


@pytest.mark.parametrize(
    "model, reason",
    [
        (nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).eval(), "evaluation mode"),
        (nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.0)), "dropout rates are 0"),
        (nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.0)), "dropout rates are 0"),
    ],
)
def test_equal_passes_get_one_warning(model, reason, recwarn):
    step = RDrop(model)
    for _ in range(3):
        step(X)
    (message,) = (str(warning.message) for warning in recwarn)
    assert NO_EFFECT in message and reason in message
    assert recwarn[0].filename == __file__


class Noise(nn.Module):
    """Random in a way that nobody knows."""

    def forward(self, x):
        return x + torch.rand_like(x)


class HalfOn(nn.Sequential):
    """In evaluation mode, but for its dropout: Monte-Carlo dropout."""

    def __init__(self):
        super().__init__(nn.Linear(4, 4), nn.Dropout(0.5))
        self.eval()
        self[1].train()


@pytest.mark.parametrize("model", [nn.Dropout(0.5), Noise(), Noise().eval(), HalfOn()])
def test_passes_that_differ_get_none(model, recwarn):
    RDrop(model)(X)
    assert not recwarn


# What it refuses


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ((lambda x: x,), TypeError, "must be a torch.nn.Module"),
        ((nn.Dropout(), 1), ValueError, "passes 1"),
        ((nn.Dropout(), True), ValueError, "passes True"),
        ((nn.Dropout(), 2, (0.1,)), ValueError, "must be 2 rates"),
        ((nn.Dropout(), 2, (0.1, 1.0)), ValueError, "must be 2 rates"),
    ],
)
def test_bad_settings(arguments, error, words):
    model, passes, dropouts = (*arguments, 2, None)[:1] + (*arguments[1:], *(2, None)[len(arguments) - 1 :])
    with pytest.raises(error, match=words):
        RDrop(model, passes, dropouts=dropouts)


def test_a_call_without_a_tensor():
    with pytest.raises(ValueError, match="no argument is a tensor"):
        RDrop(nn.Dropout())("text", scale=torch.tensor(1.0))


def test_a_shared_name_that_no_argument_has_is_refused():
    with pytest.raises(ValueError, match=r"^shared \['maskk'\]: no keyword argument has such a name$"):
        RDrop(nn.Dropout(), shared=["maskk"])(X)


def test_the_loss_of_a_module_goes_down():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 5))
    x, target = torch.randn(20, 6), torch.randint(5, (20,))
    passes, losses = RDrop(model), []
    for _ in range(30):
        loss = rdrop_loss(passes(x), target, 1.0)
        with torch.no_grad():
            for weight, slope in zip(
                model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True
            ):
                weight -= 0.1 * slope
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
