"""Repeating a batch, and running the passes in one forward or several."""

import copy
from typing import NamedTuple

import pytest
import torch
from fairseq.modules.quant_noise import quant_noise
from support.helpers import assert_same_tree
from support.toy_models import BATCH, LayerDropStack, Toy
from torch import nn

from rdrop_fairseq import passes
from rdrop_fairseq.passes import (
    drops_layers,
    forward_passes,
    is_random,
    needs_separate_forwards,
    repeat_batch,
)


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor | None


def make_sample():
    return {
        "id": torch.tensor([7, 8, 9]),
        "net_input": {
            "src_tokens": torch.arange(12.0).view(3, 4),
            "src_lengths": torch.tensor([4, 3, 2]),
            "nested": {"mask": torch.tensor([[True], [False], [True]]), "pair": (torch.ones(3, 1), [torch.zeros(3)])},
            "named": Pair(torch.ones(3, 2), None),
            "positions": torch.arange(4),  # one for each column, not for each sentence
            "scale": torch.tensor(2.0),
            "features_only": False,
            "nothing": None,
        },
        "target": torch.arange(6).view(3, 2),
        "ntokens": 6,
        "nsentences": 3,
    }


@pytest.mark.parametrize("passes", [2, 3])
def test_repeat_batch(passes):
    sample = make_sample()
    repeated = repeat_batch(sample, passes)
    net_input = repeated["net_input"]

    def is_repeated(copies, tensor):
        return torch.equal(copies, torch.cat([tensor] * passes))

    assert is_repeated(repeated["target"], sample["target"])
    assert is_repeated(net_input["src_tokens"], sample["net_input"]["src_tokens"])
    assert is_repeated(net_input["src_lengths"], sample["net_input"]["src_lengths"])
    assert is_repeated(net_input["nested"]["mask"], sample["net_input"]["nested"]["mask"])
    assert isinstance(net_input["nested"]["pair"], tuple) and isinstance(net_input["nested"]["pair"][1], list)
    assert is_repeated(net_input["nested"]["pair"][0], torch.ones(3, 1))
    assert is_repeated(net_input["nested"]["pair"][1][0], torch.zeros(3))
    assert isinstance(net_input["named"], Pair) and net_input["named"].right is None
    assert is_repeated(net_input["named"].left, torch.ones(3, 2))
    for name in ("positions", "scale", "features_only", "nothing"):
        assert net_input[name] is sample["net_input"][name]
    assert (repeated["ntokens"], repeated["nsentences"]) == (6, 3)
    assert repeated["id"] is sample["id"]


def test_repeat_batch_leaves_the_sample_alone():
    sample = make_sample()
    before = copy.deepcopy(sample)
    repeated = repeat_batch(sample, 2)
    repeated["target"].fill_(0)
    repeated["net_input"]["src_tokens"].fill_(0)
    repeated["net_input"]["nested"]["pair"][0].fill_(0)
    repeated["net_input"]["new"] = repeated["ntokens"] = 0
    assert_same_tree(sample, before)


class OneDraw(nn.Linear):
    """Draws once for a whole batch, for all that a caller of register_one_draw says."""

    def __init__(self, *sizes, rate=0.1):
        super().__init__(*sizes)
        self.inner = nn.Dropout(rate)


class Derived(OneDraw):
    pass


@pytest.mark.parametrize(
    "model, separate",
    [
        (Toy(nn.Linear(4, 4), nn.Dropout(0.5)), False),
        (Toy(LayerDropStack(0.0)), False),
        (Toy(nn.LSTMCell(4, 4)), False),  # takes no lengths, so has no order to ask for
        (Toy(LayerDropStack(0.5)), True),
        (Toy(quant_noise(nn.Linear(4, 4), 0.0, 4)), False),
        (Toy(quant_noise(nn.Linear(4, 4), 0.5, 4)), True),
        (Toy(OneDraw(4, 4)), False),
        (Toy(nn.LSTM(4, 4)), True),
        (Toy(nn.GRU(4, 4)), True),
        (Toy(nn.Sequential(nn.RNN(4, 4))), True),
    ],
)
@pytest.mark.parametrize("passes", [2, 3])
def test_one_forward_or_several(model, separate, passes):
    model.train()
    model.batch_sizes.clear()
    output = forward_passes(model, BATCH, repeat_batch(BATCH, passes), None, passes)
    assert needs_separate_forwards(model) is separate
    assert model.batch_sizes == ([3] * passes if separate else [3 * passes])
    assert output[0].size(0) == 3 * passes
    assert output[1:] == ({"call": 1}, None)  # of the first pass


def test_the_answer_of_a_caller_who_asked_before_is_taken():
    for model, separate in ((Toy(nn.Linear(4, 4)), True), (Toy(LayerDropStack(0.5)), False)):
        forward_passes(model, BATCH, repeat_batch(BATCH, 2), None, 2, separate=separate)
        assert model.batch_sizes == ([3, 3] if separate else [6])


@pytest.mark.parametrize("module", [nn.Linear(4, 4), LayerDropStack(0.0), nn.Dropout(0.0), nn.LSTM(4, 4)])
def test_without_a_rate_nothing_is_random(module):
    assert not is_random(Toy(module))


def test_one_forward_is_that_of_the_repeated_batch():
    model = Toy(nn.Dropout(0.5), tuple_output=False)
    torch.manual_seed(3)
    actual = forward_passes(model, BATCH, repeat_batch(BATCH, 2), None, 2)
    torch.manual_seed(3)
    expected = model(torch.cat([BATCH["net_input"]["x"]] * 2))
    assert torch.equal(actual, expected)
    assert not torch.equal(actual[:3], actual[3:])


@pytest.mark.parametrize("tuple_output", [True, False])
def test_separate_forwards_are_those_made_by_hand(tuple_output):
    model = Toy(LayerDropStack(0.5), nn.Dropout(0.3), tuple_output=tuple_output)
    torch.manual_seed(3)
    actual = forward_passes(model, BATCH, repeat_batch(BATCH, 3), None, 3)
    torch.manual_seed(3)
    expected = [model(BATCH["net_input"]["x"]) for _ in range(3)]
    if tuple_output:
        actual, expected = actual[0], [output[0] for output in expected]
    assert torch.equal(actual, torch.cat(expected))
    assert not torch.equal(actual[:3], actual[3:6])


def test_gradients_of_separate_forwards_add_up():
    model = Toy(nn.Linear(4, 2), nn.Dropout(0.3), tuple_output=False)
    torch.manual_seed(3)
    forward_passes(model, BATCH, repeat_batch(BATCH, 2), [0.3, 0.3], 2).sum().backward()
    actual, model.layers[0].weight.grad = model.layers[0].weight.grad, None
    torch.manual_seed(3)
    for _ in range(2):
        model(BATCH["net_input"]["x"]).sum().backward()
    torch.testing.assert_close(actual, model.layers[0].weight.grad)


def test_dropouts_give_each_pass_its_rate():
    model = Toy(nn.Dropout(0.5), tuple_output=False)
    batch = {"net_input": {"x": torch.ones(3, 4000)}, "target": torch.zeros(3)}
    torch.manual_seed(3)
    first, second, third = forward_passes(model, batch, repeat_batch(batch, 3), [0.0, 0.25, 0.5], 3).chunk(3)
    assert model.batch_sizes == [3, 3, 3]
    assert torch.equal(first, torch.ones(3, 4000))
    for one_pass, rate in ((second, 0.25), (third, 0.5)):
        assert one_pass.eq(0).float().mean().item() == pytest.approx(rate, abs=0.02)
        assert one_pass.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])
    assert model.layers[0].p == 0.5


@pytest.mark.parametrize("rate", ["inner.p", lambda module: module.inner.p])
@pytest.mark.parametrize("leaves_out_layers", [False, True])
def test_other_kinds_that_draw_once_are_registered_in_one_line(rate, leaves_out_layers, monkeypatch):
    monkeypatch.setattr(passes, "_ONE_DRAWS", [])
    passes.register_one_draw(OneDraw, rate, leaves_out_layers=leaves_out_layers)
    for kind in (OneDraw, Derived):
        on, off = Toy(kind(4, 4)), Toy(kind(4, 4, rate=0.0))
        assert needs_separate_forwards(on) and not needs_separate_forwards(off)
        assert drops_layers(on) is leaves_out_layers and not drops_layers(off)
        assert is_random(on) and not is_random(off)


def test_an_attribute_called_dropout_makes_a_model_random():
    class Own(nn.Linear):
        hidden_dropout_rate = 0.0

    module = Own(4, 4)
    assert not is_random(module)
    for module.hidden_dropout_rate, random in ((0.1, True), (0, False), (True, False), (None, False), ("0.1", False)):
        assert is_random(module) is random
