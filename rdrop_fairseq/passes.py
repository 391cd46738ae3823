"""Several passes of one batch through a model: in one forward of the repeated batch, or one forward a pass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def repeat_batch(sample: dict[str, Any], passes: int) -> dict[str, Any]:
    """A new sample whose ``net_input`` and ``target`` hold ``passes`` copies of the batch: ``[x; x]``.

    Every tensor of ``net_input``, at any depth, whose first dimension is the batch (that of ``target``) is repeated;
    everything else, the counts ``ntokens`` and ``nsentences`` too, is shared with ``sample``, which stays unchanged.
    """
    batch_size = sample["target"].size(0)

    def repeat(value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.cat([value] * passes) if value.dim() and value.size(0) == batch_size else value
        if isinstance(value, dict):
            return {key: repeat(item) for key, item in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):  # a namedtuple takes its fields one by one
            return type(value)(*map(repeat, value))
        if isinstance(value, (list, tuple)):
            return type(value)(repeat(item) for item in value)
        return value

    return {**sample, "net_input": repeat(sample["net_input"]), "target": repeat(sample["target"])}


def forward_passes(
    model: nn.Module,
    sample: dict[str, Any],
    repeated: dict[str, Any],
    dropouts: Sequence[float] | None,
    passes: int,
    *,
    separate: bool | None = None,
    **options: Any,
) -> Any:
    """The model's output for ``repeated``, which is ``repeat_batch(sample, passes)``, called with ``options`` besides.

    One forward of the repeated batch where that equals ``passes`` forwards of the batch; ``passes`` forwards, their
    outputs joined along the batch, where it does not or where each pass has a dropout rate of its own in ``dropouts``.
    Then what the model returns behind its first tensor is that of the first pass. ``separate`` is the answer of
    ``needs_separate_forwards``, for a caller who asked it before; without it, every call goes through the model.
    """
    if separate is None:
        separate = needs_separate_forwards(model)
    if dropouts is None and not separate:
        return model(**repeated["net_input"], **options)
    outputs = in_turn(model, dropouts, [lambda: model(**sample["net_input"], **options)] * passes)
    if isinstance(outputs[0], Tensor):
        return torch.cat(outputs)
    return (torch.cat([output[0] for output in outputs]), *outputs[0][1:])


def in_turn(model: nn.Module, dropouts: Sequence[float] | None, calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What the calls return, one for each pass; with ``dropouts``, each while the model drops at the pass's rate."""
    if dropouts is None:
        return [call() for call in calls]
    found, results = _dropouts(model), []
    for call, rate in zip(calls, dropouts, strict=True):
        with _at_rate(found, rate):
            results.append(call())
    return results


# Where a module of fairseq, or of a class derived from it, has the rate at which it draws once a forward: layers that
# are left out (LayerDrop; Fan et al., 2020), weights that are quantized (``--quant-noise-scalar``; Fan et al., 2021),
# a kernel's weights, which all sentences share (LightConv). Two more cannot be found by a class: layers
# that a module's own forward leaves out at its rate ``layerdrop`` (wav2vec 2.0, HuBERT, XM Transformer, Conformer), and
# the hook of ``--quant-noise-pq``.
#
# Looked at in fairseq 0.12.3.1, all that draws in modules/ and models/. These draw for each element of the batch, so
# that the copies differ in one forward too: every other dropout (FairseqDropout, F.dropout; the weights of DynamicConv
# and of LightweightConv1dTBC, which are expanded over the batch before), the noise of quantized activations, zoneout,
# the Gumbel softmax, the masks and negatives of wav2vec and HuBERT, the noise of non-autoregressive models. BASE
# layers and k-means attention draw an order or a start, but no noise. Batch normalization draws nothing.
_RATE_OF_ONE_DRAW = {
    "LayerDropModuleList": "p",
    "IntLinear": "p",
    "IntConv2d": "p",
    "IntEmbedding": "p",
    "LightweightConv1d": "weight_dropout_module.p",
    "LightconvLayer": "weight_dropout_module.p",
}


def needs_separate_forwards(model: nn.Module) -> bool:
    """Whether a forward of ``[x; x]`` would not be two independent forwards of x.

    A recurrent encoder wants its sources sorted by length, which ``[x; x]`` is not. What draws once a forward, as
    LayerDrop does, would leave out the same layers or weights for all copies.
    """
    return any(isinstance(module, nn.RNNBase) or _draws_once(module) for module in model.modules())


def drops_layers(model: nn.Module) -> bool:
    """Whether a forward leaves out layers by chance (LayerDrop)."""
    return any(_drops_layers(module) for module in model.modules())


def is_random(model: nn.Module) -> bool:
    """Whether a dropout, or anything else that tells two forwards apart, is switched on (rate above 0).

    An attribute of any module counts that is a number above 0 and called dropout: many a forward reads its rate there.
    """
    return any(
        _draws_once(module)
        or any(_rate(module, name) > 0 for name in _dropout_attributes(module))
        or any("dropout" in name and _rate(module, name) > 0 for name in vars(module))
        for module in model.modules()
    )


def _draws_once(module: nn.Module) -> bool:
    kinds = {kind.__name__ for kind in type(module).__mro__}
    return (
        any(kind in kinds and _rate(module, name) > 0 for kind, name in _RATE_OF_ONE_DRAW.items())
        or _drops_layers(module)
        or any(hook.__module__ == "fairseq.modules.quant_noise" for hook in module._forward_pre_hooks.values())
    )


def _drops_layers(module: nn.Module) -> bool:
    is_list = any(kind.__name__ == "LayerDropModuleList" for kind in type(module).__mro__)
    return (is_list and _rate(module, "p") > 0) or _rate(module, "layerdrop") > 0


class DropoutRateError(ValueError):
    """The model cannot take another dropout rate for one pass."""


@contextmanager
def dropout_rate(model: nn.Module, rate: float) -> Iterator[None]:
    """Within the context, every dropout of ``model`` that is switched on (rate above 0) drops at ``rate``.

    A dropout that the model's configuration leaves at 0 stays off. The model's own rates come back at the end, also
    when the body raises.

    Raises:
        DropoutRateError: if the model has no dropout that is switched on, or computes activations anew in backward
            (fairseq's ``--checkpoint-activations``), which happens after the context.
    """
    with _at_rate(_dropouts(model), rate):
        yield


def _dropouts(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """The modules of ``model`` with a dropout that is switched on, and the attribute that holds its rate."""
    modules = list(model.modules())
    if any(hasattr(module, "precheckpoint_forward") for module in modules):
        raise DropoutRateError("does not go with --checkpoint-activations")
    found = [(module, name) for module in modules for name in _dropout_attributes(module) if _rate(module, name) > 0]
    if not found:
        raise DropoutRateError("needs a model with dropout; all dropout rates of this one are 0")
    return found


@contextmanager
def _at_rate(found: list[tuple[nn.Module, str]], rate: float) -> Iterator[None]:
    own_rates = [getattr(module, name) for module, name in found]
    try:
        for module, name in found:
            setattr(module, name, rate)
        yield
    finally:
        for (module, name), own_rate in zip(found, own_rates, strict=True):
            setattr(module, name, own_rate)


def _dropout_attributes(module: nn.Module) -> tuple[str, ...]:
    if "Dropout" in type(module).__name__:  # torch's nn.Dropout family and fairseq's FairseqDropout
        return ("p",)
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
        return ("dropout",)
    return ()


def _rate(module: nn.Module, path: str) -> float:
    """The number at the attribute, or the attribute of an attribute; 0 where there is none."""
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name, 0)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0
