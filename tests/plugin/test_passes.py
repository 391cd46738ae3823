"""Repeating a batch, running the passes in one forward or several, and a dropout rate for each pass."""

import copy
from typing import NamedTuple

import numpy
import pytest
import torch
from fairseq.models.speech_to_text.xm_transformer import Conv1dAdaptor
from fairseq.models.wav2vec.wav2vec2 import TransformerEncoder, Wav2Vec2Config
from fairseq.modules import FairseqDropout, LayerDropModuleList, TransformerSentenceEncoder
from fairseq.modules.dynamic_convolution import DynamicConv1dTBC
from fairseq.modules.gumbel_vector_quantizer import GumbelVectorQuantizer
from fairseq.modules.lightweight_convolution import LightweightConv1d, LightweightConv1dTBC
from fairseq.modules.lstm_cell_with_zoneout import LSTMCellWithZoneOut
from fairseq.modules.quant_noise import quant_noise
from fairseq.modules.quantization.scalar import quantize_model_
from fairseq.modules.quantization.scalar.modules import ActivationQuantizer
from support.helpers import assert_same_tree
from torch import nn

from rdrop_fairseq.passes import (
    dropout_rate,
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


def test_the_answer_of_a_caller_who_asked_before_is_taken():
    for model, separate in ((Toy(nn.Linear(4, 4)), True), (Toy(LayerDropStack(0.5)), False)):
        forward_passes(model, BATCH, repeat_batch(BATCH, 2), None, 2, separate=separate)
        assert model.batch_sizes == ([3, 3] if separate else [6])


# Everything of fairseq's that draws, at a rate: first what draws once a forward, then what draws for each sentence.


class LightconvLayer(LightweightConv1d):
    """By its name fairseq's module for a GPU, which is not to be had without one and draws like the other."""


class OwnList(LayerDropModuleList):
    """A class derived from fairseq's."""


def quantized(module, rate):
    model = nn.Sequential(module)
    if rate:
        quantize_model_(model, p=rate, bits=2)
    return model


def own_list(rate):
    stack = LayerDropStack(rate)
    stack.layers.__class__ = OwnList
    return stack


def sentence_encoder(rate):
    return TransformerSentenceEncoder(
        1, 12, num_encoder_layers=3, embedding_dim=8, ffn_embedding_dim=8, num_attention_heads=2, dropout=0.0,
        attention_dropout=0.0, activation_dropout=0.0, layerdrop=rate,
    )  # fmt: skip


def wav2vec_encoder(rate):
    config = Wav2Vec2Config(
        encoder_layers=3, encoder_embed_dim=8, encoder_ffn_embed_dim=8, encoder_attention_heads=2, dropout=0.0,
        attention_dropout=0.0, conv_pos=2, conv_pos_groups=1, encoder_layerdrop=rate,
    )  # fmt: skip
    return TransformerEncoder(config)


def activations_quantized(rate):
    module = nn.Linear(4, 4)
    ActivationQuantizer(module, p=rate, bits=2)
    return module


class Zoneout(LSTMCellWithZoneOut):
    def forward(self, x):
        return super().forward(x, (x, x))


WORDS = torch.tensor([[4, 5, 6], [7, 8, 9]])
SENTENCES, COLUMNS, FRAMES = (
    torch.randn(size, generator=torch.Generator().manual_seed(1)) for size in ((2, 4), (2, 4, 5), (2, 6, 8))
)
KERNEL = {"kernel_size": 3, "num_heads": 2}
DRAWS = {  # a module at a rate, a batch, the dimension of the batch, and whether it draws once a forward
    "LayerDrop": (LayerDropStack, SENTENCES, 0, True),
    "LayerDrop, derived": (own_list, SENTENCES, 0, True),
    "TransformerSentenceEncoder": (sentence_encoder, WORDS, 0, True),
    "wav2vec's encoder": (wav2vec_encoder, FRAMES, 0, True),
    "XM Transformer's adaptor": (
        lambda rate: Conv1dAdaptor(8, 8, n_layers=3, kernel_size=1, stride=1, layerdrop=rate), FRAMES, 1, True,
    ),
    "--quant-noise-pq": (lambda rate: quant_noise(nn.Linear(4, 4), rate, 1), SENTENCES, 0, True),
    "--quant-noise-scalar, linear": (lambda rate: quantized(nn.Linear(4, 4), rate), SENTENCES, 0, True),
    "--quant-noise-scalar, embedding": (lambda rate: quantized(nn.Embedding(12, 4), rate), WORDS, 0, True),
    "--quant-noise-scalar, convolution": (
        lambda rate: quantized(nn.Conv2d(1, 3, 2), rate), COLUMNS.unsqueeze(1), 0, True,
    ),
    "LightConv": (lambda rate: LightweightConv1d(4, padding=1, weight_dropout=rate, **KERNEL), COLUMNS, 0, True),
    "LightConv on a GPU": (lambda rate: LightconvLayer(4, padding=1, weight_dropout=rate, **KERNEL), COLUMNS, 0, True),
    "LightConv, TBC": (
        lambda rate: LightweightConv1dTBC(8, padding_l=2, weight_dropout=rate, **KERNEL), FRAMES, 1, False,
    ),
    "DynamicConv": (lambda rate: DynamicConv1dTBC(8, padding_l=2, weight_dropout=rate, **KERNEL), FRAMES, 1, False),
    "dropout": (FairseqDropout, SENTENCES, 0, False),
    "quantized activations": (activations_quantized, SENTENCES, 0, False),
    "zoneout": (lambda rate: Zoneout(rate, 4, 4), SENTENCES, 0, False),
    "Gumbel softmax": (
        lambda rate: GumbelVectorQuantizer(8, 4, (1, 1, 1), 1, False, 8, True), FRAMES, 0, False,
    ),
}  # fmt: skip


@pytest.fixture
def without_gpu(monkeypatch):
    """fairseq's scalar quantization moves what it reckons with to a GPU, without asking."""
    for kind in (torch.Tensor, nn.Module):
        monkeypatch.setattr(kind, "cuda", lambda self: self)


@pytest.mark.parametrize("name", DRAWS)
def test_what_draws_once_a_forward_needs_one_for_each_pass(name, without_gpu):
    """The claim is checked at the module itself: the copies in one forward differ, or they do not."""
    make, batch, dim, once = DRAWS[name]
    torch.manual_seed(0)
    module = make(0.5).train()
    assert needs_separate_forwards(module) is once
    assert not needs_separate_forwards(make(0.0))

    def output(x):
        found = module(x, None) if isinstance(module, Conv1dAdaptor) else module(x)
        if isinstance(module, TransformerSentenceEncoder):
            return found[1]  # behind the states of every layer
        found = found["x"] if isinstance(found, dict) else found
        return found if isinstance(found, torch.Tensor) else found[0]

    def differ(call):
        for seed in range(20):
            torch.manual_seed(seed)
            numpy.random.seed(seed)
            first, second = call()
            if not torch.allclose(first, second, atol=1e-5):
                return True
        return False

    assert differ(lambda: (output(batch), output(batch)))  # it does draw
    assert differ(lambda: output(torch.cat([batch, batch], dim)).chunk(2, dim)) is not once


@pytest.mark.parametrize(
    "name", [name for name in DRAWS if name not in ("quantized activations", "zoneout", "Gumbel softmax")]
)
def test_what_draws_is_random(name):
    make, *_ = DRAWS[name]
    assert is_random(make(0.5))


@pytest.mark.parametrize("module", [nn.Linear(4, 4), LayerDropStack(0.0), nn.Dropout(0.0), nn.LSTM(4, 4)])
def test_without_a_rate_nothing_is_random(module):
    assert not is_random(Toy(module))


def test_layers_are_dropped_by_layerdrop_alone():
    dropping = [name for name, (make, *_) in DRAWS.items() if drops_layers(make(0.5))]
    assert dropping == [
        "LayerDrop", "LayerDrop, derived", "TransformerSentenceEncoder", "wav2vec's encoder",
        "XM Transformer's adaptor",
    ]  # fmt: skip


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
