"""The dropout rates of a model, and another rate for one pass."""

import pytest
import torch
from fairseq.modules import FairseqDropout
from support.toy_models import BATCH, Toy
from torch import nn

from rdrop_fairseq import dropout
from rdrop_fairseq.dropout import DropoutRateError
from rdrop_fairseq.passes import (
    dropout_rate,
    forward_passes,
    repeat_batch,
)


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


class DropPath(nn.Module):
    """As timm's: it leaves out the whole sample at the rate ``drop_prob``."""

    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        kept = 1 - self.drop_prob
        return x * x.new_empty(len(x), 1).bernoulli_(kept) / kept if self.training else x


class Derived(DropPath):
    pass


def test_another_kind_of_dropout_is_registered_in_one_line(monkeypatch):
    model = nn.Sequential(DropPath(0.3), Derived(0.2), DropPath(0.0))
    with pytest.raises(DropoutRateError), dropout_rate(model, 0.1):
        pass
    monkeypatch.setattr(dropout, "_ATTRIBUTES", dict(dropout._ATTRIBUTES))
    dropout.register_dropout(DropPath, "drop_prob")
    with dropout_rate(model, 0.5):
        assert [module.drop_prob for module in model] == [0.5, 0.5, 0.0]
    assert [module.drop_prob for module in model] == [0.3, 0.2, 0.0]
    batch = {"net_input": {"x": torch.ones(400, 1)}, "target": torch.zeros(400)}
    first, second = forward_passes(model[0], batch, repeat_batch(batch, 2), [0.1, 0.6], 2).chunk(2)
    assert first.eq(0).float().mean() < 0.2 < 0.5 < second.eq(0).float().mean()


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout1d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_all_of_torchs_dropouts_are_known(kind):
    assert [attribute for _, attribute in dropout.dropouts_of(kind(0.1))] == ["p"]
