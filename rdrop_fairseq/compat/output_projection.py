"""Which models the fused loss can take the output layer of: those whose logits are plain projections of features."""

import inspect
from typing import Any

import torch
from fairseq.distributed import DistributedTimeoutWrapper, LegacyDistributedDataParallel, ModuleProxyWrapper
from fairseq.models import BaseFairseqModel, FairseqDecoder, FairseqLanguageModel
from fairseq.models.transformer import TransformerDecoderBase, TransformerModelBase
from fairseq.modules.adaptive_softmax import AdaptiveSoftmax, TiedHeadModule, TiedLinear
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

_WRAPPERS = (ModuleProxyWrapper, DistributedTimeoutWrapper, LegacyDistributedDataParallel, DistributedDataParallel)


class NoOutputProjectionError(ValueError):
    """The model must apply its output layer itself; the message says why."""


def unwrapped(model: Any) -> Any:
    """Return the model without the wrappers that fairseq puts around it for training on several processes."""
    while isinstance(model, _WRAPPERS):
        model = model.module
    return model


def output_projection(model: Any) -> nn.Linear:
    """Return the projection to the vocabulary of ``model``, which with ``features_only=True`` returns its input.

    Raises:
        NoOutputProjectionError: if the model's log-probabilities are more than the log-softmax of that projection, if
            it cannot return its features, or if it is wrapped so that its weights cannot be used outside its forward.
    """
    while isinstance(model, _WRAPPERS):
        # This wrapper would take the projection, which the forward does not use, for unused in the loss too.
        if isinstance(model, DistributedDataParallel) and model.find_unused_parameters:
            raise NoOutputProjectionError("--find-unused-parameters")
        model = model.module
    decoder = getattr(model, "decoder", None)
    name = type(model).__name__
    if not isinstance(model, BaseFairseqModel):
        raise NoOutputProjectionError(f"{name}, which may hold its weights in parts")
    if not isinstance(decoder, TransformerDecoderBase) or any(
        getattr(type(module), method) not in methods for module, method, methods in _stock_methods(model, decoder)
    ):
        raise NoOutputProjectionError(f"{name} has an output layer of its own")
    if has_adaptive_softmax(model):
        raise NoOutputProjectionError("adaptive softmax")
    if type(decoder.output_projection) is not nn.Linear or decoder.output_projection._forward_pre_hooks:
        raise NoOutputProjectionError(f"{name} has no plain output projection")
    takes = inspect.signature(model.forward).parameters
    if "features_only" not in takes and type(model).forward is not FairseqLanguageModel.forward:
        raise NoOutputProjectionError(f"{name} does not return its features")
    return decoder.output_projection


def _stock_methods(model: nn.Module, decoder: nn.Module) -> list[tuple[nn.Module, str, tuple[Any, ...]]]:
    """Return the methods between features and log-probabilities, each with fairseq's own implementations."""
    probs, scriptable = "get_normalized_probs", "get_normalized_probs_scriptable"
    return [
        (model, probs, (BaseFairseqModel.get_normalized_probs, TransformerModelBase.get_normalized_probs)),
        (model, scriptable, (BaseFairseqModel.get_normalized_probs_scriptable,)),
        (decoder, probs, (FairseqDecoder.get_normalized_probs,)),
        (decoder, scriptable, (FairseqDecoder.get_normalized_probs_scriptable,)),
        (decoder, "output_layer", (TransformerDecoderBase.output_layer,)),
    ]


def has_adaptive_softmax(model: Any) -> bool:
    """Return whether the output layer of ``model`` is an adaptive softmax (Grave et al., 2017)."""
    return getattr(getattr(model, "decoder", None), "adaptive_softmax", None) is not None


def cluster_weights(softmax: AdaptiveSoftmax) -> list[Tensor]:
    """Return the matrices ``[S, D]`` from which ``softmax`` makes logits: that of the head, then one for each tail.

    The head has a row for each word of the first cluster, then a row for each tail cluster. A tail's matrix takes the
    states after the tail's own first projection.

    Raises:
        NoOutputProjectionError: if a cluster's logits are more than one plain projection.
    """
    if type(softmax) is not AdaptiveSoftmax:
        raise NoOutputProjectionError(f"{type(softmax).__name__} is no adaptive softmax of fairseq's")
    head = softmax.head
    tied = type(head) is TiedHeadModule
    layers = [*([head.word_proj, head.class_proj] if tied else [head]), *(tail[-1] for tail in softmax.tail)]
    if any(type(layer) not in (nn.Linear, TiedLinear) or layer._forward_pre_hooks for layer in layers):
        raise NoOutputProjectionError("the adaptive softmax has no plain output projections")
    weights = [layer.weight for layer in layers]
    if any(not weight.numel() for weight in weights):  # the tail factor leaves a cluster no width
        raise NoOutputProjectionError("a cluster of the adaptive softmax has width 0")
    return [torch.cat(weights[:2]), *weights[2:]] if tied else weights
