"""What fairseq's modules draw: once for a batch, or for each sentence."""

import functools
import sys
import types
from unittest import mock

import numpy
import pytest
import torch
import torch.nn.functional as F
from fairseq.models.hubert.hubert_asr import TransformerDecoder as HubertDecoder
from fairseq.models.speech_to_text.xm_transformer import Conv1dAdaptor
from fairseq.models.wav2vec.wav2vec2 import TransformerEncoder, Wav2Vec2Config
from fairseq.models.wav2vec.wav2vec2_asr import TransformerDecoder as Wav2VecDecoder
from fairseq.modules import FairseqDropout, LayerDropModuleList, TransformerSentenceEncoder
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from fairseq.modules.dynamic_convolution import DynamicConv1dTBC
from fairseq.modules.gumbel_vector_quantizer import GumbelVectorQuantizer
from fairseq.modules.lightweight_convolution import LightweightConv1d, LightweightConv1dTBC
from fairseq.modules.lstm_cell_with_zoneout import LSTMCellWithZoneOut
from fairseq.modules.quant_noise import quant_noise
from fairseq.modules.quantization.scalar import quantize_model_
from fairseq.modules.quantization.scalar.modules import ActivationQuantizer
from support.toy_models import LayerDropStack
from torch import nn

from rdrop_fairseq.compat.forwards import checkpoints_activations, register_fairseq_modules
from rdrop_fairseq.dropout import dropouts_of
from rdrop_fairseq.passes import (
    drops_layers,
    is_random,
    needs_separate_forwards,
)

# Everything of fairseq's that draws, at a rate: first what draws once a forward, then what draws for each sentence.


@functools.cache
def lightconv_layer():
    """Return fairseq's module for GPUs; torch's convolution stands in for its kernel."""
    kernel = types.ModuleType("lightconv_cuda")

    def forward(x, weights, padding):  # [B, C, T] and [H, K]
        filters = weights.repeat_interleave(x.size(1) // len(weights), 0).unsqueeze(1)
        return [F.conv1d(x, filters, padding=padding, groups=x.size(1))]

    kernel.forward = forward
    with mock.patch.dict(sys.modules, lightconv_cuda=kernel):
        from fairseq.modules.lightconv_layer.lightconv_layer import LightconvLayer

        register_fairseq_modules()
    return LightconvLayer


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
    "LightConv on a GPU": (
        lambda rate: lightconv_layer()(8, padding_l=1, weight_dropout=rate, **KERNEL), FRAMES, 1, True,
    ),
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


def test_layers_are_dropped_by_layerdrop_alone():
    dropping = [name for name, (make, *_) in DRAWS.items() if drops_layers(make(0.5))]
    assert dropping == [
        "LayerDrop", "LayerDrop, derived", "TransformerSentenceEncoder", "wav2vec's encoder",
        "XM Transformer's adaptor",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [Wav2VecDecoder, HubertDecoder])
def test_decoders_that_leave_out_layers_in_their_own_forward(kind):
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    for module.layerdrop, drops in ((0.1, True), (0.0, False)):
        assert drops_layers(module) is needs_separate_forwards(module) is is_random(module) is drops


def test_a_class_of_this_name_that_is_not_fairseqs_does_not_count():
    class LayerDropModuleList(nn.Linear):
        p = 0.5

    class MyDropout(LayerDropModuleList):
        pass

    for kind in (LayerDropModuleList, MyDropout):
        assert not needs_separate_forwards(kind(4, 4)) and not dropouts_of(kind(4, 4))


def test_fairseqs_dropout_is_known():
    class Own(FairseqDropout):
        pass

    model = nn.ModuleList([FairseqDropout(0.3), FairseqDropout(0.0), Own(0.1)])
    assert dropouts_of(model) == [(model[0], "p"), (model[2], "p")]


def test_activations_that_are_computed_again_in_backward():
    """By fairseq's wrapper, which --checkpoint-activations puts around layers; not by torch's function."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)))
    assert not checkpoints_activations(model)
    checkpoint_wrapper(model[1][0])
    assert checkpoints_activations(model)
