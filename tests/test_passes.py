"""Repeating a batch, running the passes in one forward or several, and a dropout rate for each pass."""

import copy

import pytest
import torch
from fairseq.modules import FairseqDropout, LayerDropModuleList
from fairseq.modules.quant_noise import quant_noise
from helpers import assert_same_tree
from torch import nn

from rdrop_fairseq.passes import dropout_rate, forward_passes, needs_separate_forwards, repeat_batch


def make_sample():
    return {
        "id": torch.tensor([7, 8, 9]),
        "net_input": {
            "src_tokens": torch.arange(12.0).view(3, 4),
            "src_lengths": torch.tensor([4, 3, 2]),
            "nested": {"mask": torch.tensor([[True], [False], [True]]), "pair": (torch.ones(3, 1), [torch.zeros(3)])},
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


class Toy(nn.Module):
    """Counts its forwards; any modules in between, then logits and what a decoder returns beside them."""

    def __init__(self, *modules, tuple_output=True):
        super().__init__()
        self.layers = nn.ModuleList(modules)
        self.batch_sizes = []
        self.tuple_output = tuple_output

    def forward(self, x):
        self.batch_sizes.append(len(x))
        for layer in self.layers:
            x = layer(x)
            x = x[0] if isinstance(x, tuple) else x
        return (x, {"call": len(self.batch_sizes)}, None) if self.tuple_output else x


class LayerDropStack(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.layers = LayerDropModuleList(p, [nn.Linear(4, 4) for _ in range(4)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Wav2Vec2Style(nn.Linear):
    layerdrop = 0.1


BATCH = {"net_input": {"x": torch.arange(12.0).view(3, 4)}, "target": torch.zeros(3)}


@pytest.mark.parametrize(
    "model, separate",
    [
        (Toy(nn.Linear(4, 4), nn.Dropout(0.5)), False),
        (Toy(LayerDropStack(0.0)), False),
        (Toy(nn.LSTMCell(4, 4)), False),  # takes no lengths, so has no order to ask for
        (Toy(LayerDropStack(0.5)), True),
        (Toy(quant_noise(nn.Linear(4, 4), 0.0, 4)), False),
        (Toy(quant_noise(nn.Linear(4, 4), 0.5, 4)), True),
        (Toy(Wav2Vec2Style(4, 4)), True),
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


def all_dropouts():
    return nn.ModuleDict(
        {
            "torch": nn.Dropout(0.1),
            "torch_2d": nn.Dropout2d(0.2),
            "fairseq": FairseqDropout(0.3),
            "lstm": nn.LSTM(4, 4, num_layers=2, dropout=0.4),
            "attention": nn.MultiheadAttention(4, 2, dropout=0.5),
            "nested": nn.Sequential(nn.Sequential(nn.Dropout(0.6))),
            "off": nn.Dropout(0.0),
            "fairseq_off": FairseqDropout(0.0),
            "attention_off": nn.MultiheadAttention(4, 2, dropout=0.0),
            "lstm_off": nn.LSTM(4, 4),
        }
    )


def rates(model):
    own = {name: module.p for name, module in model.named_modules() if hasattr(module, "p")}
    return own | {name: module.dropout for name, module in model.named_modules() if hasattr(module, "dropout")}


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_dropout_rate_changes_what_is_on_and_restores_it(rate):
    model = all_dropouts()
    before = rates(model)
    assert sorted(before.values()) == [0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    with dropout_rate(model, rate):
        assert rates(model) == {name: rate if own else 0 for name, own in before.items()}
    assert rates(model) == before


def test_dropout_rate_is_restored_when_the_forward_raises():
    class Fails(nn.Module):
        def forward(self, x):
            raise RuntimeError("out of memory")

    model = Toy(nn.Dropout(0.1), Fails())
    with pytest.raises(RuntimeError, match="out of memory"):
        forward_passes(model, BATCH, repeat_batch(BATCH, 2), [0.3, 0.4], 2)
    assert model.layers[0].p == 0.1


@pytest.mark.parametrize("modules", [(), (nn.Dropout(0.0), nn.MultiheadAttention(4, 2), nn.LSTM(4, 4))])
def test_dropouts_need_a_model_with_dropout(modules):
    with pytest.raises(ValueError, match="dropout"):
        forward_passes(Toy(*modules), BATCH, repeat_batch(BATCH, 2), [0.3, 0.4], 2)


def test_the_dropout_of_an_lstm_and_an_attention_takes_the_rate():
    """The attribute is what their forward reads, so that setting it is enough."""
    lstm, attention = nn.LSTM(4, 4, num_layers=2, dropout=0.3), nn.MultiheadAttention(4, 2, dropout=0.3)
    x = torch.randn(3, 2, 4)

    def is_random(module, *args):
        return not torch.equal(module(*args)[0], module(*args)[0])

    for module, args in ((lstm, (x,)), (attention, (x, x, x))):
        assert is_random(module, *args)
        with dropout_rate(module, 0.0):
            assert not is_random(module, *args)
        assert is_random(module, *args)
