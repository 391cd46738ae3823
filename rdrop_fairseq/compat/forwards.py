"""What fairseq's modules draw by chance: each has a type here, so that the torch-only files need not know fairseq.

This was written from everything that draws in ``modules/`` and ``models/`` of fairseq 0.12.3.1. The modules below draw
once for a whole batch, so two copies of a sentence in one batch get the same draw: layers that are left out (LayerDrop;
Fan et al., 2020), weights that are quantized (``--quant-noise-scalar`` and ``--quant-noise-pq``; Fan et al., 2021), and
the weights of LightConv's kernel, which all sentences share.

The other modules draw for each element of the batch, so two copies differ: every other dropout (``FairseqDropout``,
``F.dropout``; DynamicConv and LightweightConv1dTBC expand their weights over the batch first), the noise of quantized
activations, zoneout, the Gumbel softmax, the masks and negatives of wav2vec and HuBERT, and the noise of
non-autoregressive models. BASE layers and k-means attention draw an order or a start, which is no noise.
"""

import functools
from typing import Any

from fairseq.models.hubert.hubert_asr import TransformerDecoder as HubertDecoder
from fairseq.models.speech_to_text.xm_transformer import Conv1dAdaptor
from fairseq.models.wav2vec.wav2vec2 import TransformerEncoder as Wav2VecEncoder
from fairseq.models.wav2vec.wav2vec2_asr import TransformerDecoder as Wav2VecDecoder
from fairseq.modules import FairseqDropout, LayerDropModuleList
from fairseq.modules.checkpoint_activations import _checkpointed_forward
from fairseq.modules.lightweight_convolution import LightweightConv1d
from fairseq.modules.quant_noise import quant_noise
from fairseq.modules.quantization.scalar.modules import IntConv2d, IntEmbedding, IntLinear
from torch import nn

from rdrop_fairseq.dropout import register_dropout
from rdrop_fairseq.passes import register_one_draw


def register_fairseq_modules() -> None:
    """Tell ``dropout`` and ``passes`` the types of fairseq's modules that draw, and where each keeps its rate."""
    register_dropout(FairseqDropout, "p")
    register_one_draw(LayerDropModuleList, "p", leaves_out_layers=True)
    for kind in (Wav2VecEncoder, Wav2VecDecoder, HubertDecoder, Conv1dAdaptor):
        register_one_draw(kind, "layerdrop", leaves_out_layers=True)
    for quantized in (IntLinear, IntConv2d, IntEmbedding):
        register_one_draw(quantized, "p")
    for hooked in (nn.Linear, nn.Embedding, nn.Conv2d):  # the kinds that quant_noise takes
        register_one_draw(hooked, _has_quant_noise)
    register_one_draw(LightweightConv1d, "weight_dropout_module.p")
    try:
        from fairseq.modules.lightconv_layer.lightconv_layer import LightconvLayer
    except ImportError:  # it needs an extension for GPUs, which fairseq's wheels do not hold
        return
    register_one_draw(LightconvLayer, "weight_dropout_module.p")


def _has_quant_noise(module: nn.Module) -> float:
    """Return 1 if ``quant_noise`` put its hook on the module, else 0: the hook keeps its rate to itself."""
    return float(any(hook.__module__ == quant_noise.__module__ for hook in module._forward_pre_hooks.values()))


def checkpoints_activations(model: nn.Module) -> bool:
    """Return whether the model computes activations a second time in backward (``--checkpoint-activations``)."""
    forwards: list[Any] = [vars(module).get("forward") for module in model.modules()]
    return any(isinstance(forward, functools.partial) and forward.func is _checkpointed_forward for forward in forwards)
