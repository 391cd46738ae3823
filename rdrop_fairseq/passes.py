"""Several passes of one batch through a model: in one forward of the repeated batch, or one forward a pass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
    **options: Any,
) -> Any:
    """The model's output for ``repeated``, which is ``repeat_batch(sample, passes)``, called with ``options`` besides.

    One forward of the repeated batch where that equals ``passes`` forwards of the batch; ``passes`` forwards, their
    outputs joined along the batch, where it does not (``needs_separate_forwards``) or where each pass has a dropout
    rate of its own in ``dropouts``. Then what the model returns behind its first tensor is that of the first pass.
    """
    if dropouts is None and not needs_separate_forwards(model):
        return model(**repeated["net_input"], **options)
    outputs = in_turn(model, dropouts, [lambda: model(**sample["net_input"], **options)] * passes)
    if isinstance(outputs[0], Tensor):
        return torch.cat(outputs)
    return (torch.cat([output[0] for output in outputs]), *outputs[0][1:])


def in_turn(model: nn.Module, dropouts: Sequence[float] | None, calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What the calls return, one for each pass; with ``dropouts``, each while the model drops at the pass's rate."""
    results = []
    for i, call in enumerate(calls):
        with nullcontext() if dropouts is None else dropout_rate(model, dropouts[i]):
            results.append(call())
    return results


def needs_separate_forwards(model: nn.Module) -> bool:
    """Whether a forward of ``[x; x]`` would not be two independent forwards of x.

    A recurrent encoder wants its sources sorted by length, which ``[x; x]`` is not. LayerDrop (Fan et al., 2020) and
    quantization noise (Fan et al., 2021) draw once a forward, so that all copies would lose the same layers or weights.
    """
    return any(
        isinstance(module, nn.RNNBase)
        or (type(module).__name__ == "LayerDropModuleList" and _rate(module, "p") > 0)
        or _rate(module, "layerdrop") > 0
        or any(hook.__module__ == "fairseq.modules.quant_noise" for hook in module._forward_pre_hooks.values())
        for module in model.modules()
    )


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
    if any(hasattr(module, "precheckpoint_forward") for module in model.modules()):
        raise DropoutRateError("does not go with --checkpoint-activations")
    found = [
        (module, name, getattr(module, name))
        for module in model.modules()
        for name in _dropout_attributes(module)
        if _rate(module, name) > 0
    ]
    if not found:
        raise DropoutRateError("needs a model with dropout; all dropout rates of this one are 0")
    try:
        for module, name, _ in found:
            setattr(module, name, rate)
        yield
    finally:
        for module, name, own_rate in found:
            setattr(module, name, own_rate)


def _dropout_attributes(module: nn.Module) -> tuple[str, ...]:
    if "Dropout" in type(module).__name__:  # torch's nn.Dropout family and fairseq's FairseqDropout
        return ("p",)
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
        return ("dropout",)
    return ()


def _rate(module: nn.Module, name: str) -> float:
    value = getattr(module, name, 0)
    return value if isinstance(value, (int, float)) else 0
