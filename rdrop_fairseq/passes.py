"""Run several passes of one batch through a model: one forward of the repeated batch, or one forward for each pass."""

import copy
import dataclasses
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rdrop_fairseq.dropout import DropoutRateError as DropoutRateError
from rdrop_fairseq.dropout import dropout_rate, dropouts_of, rate_at


def repeat_batch(sample: dict[str, Any], passes: int) -> dict[str, Any]:
    """Return a new sample whose ``net_input`` and ``target`` hold the batch ``passes`` times: ``[x; x]``.

    Every tensor of ``net_input``, at any depth, is repeated if its first dimension has the size of the batch, which is
    that of ``target``. Everything else, also the counts ``ntokens`` and ``nsentences``, is shared with ``sample``.
    ``sample`` itself does not change.
    """
    return join_batches([sample] * passes)


def join_batches(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a new sample whose ``net_input`` and ``target`` hold those of all samples, one after the other.

    Tensors are joined if the first dimension of each has the size of its batch. All else is that of the first sample.
    """
    sizes = [sample["target"].size(0) for sample in samples]

    def join(*each: Tensor) -> Tensor:
        are_rows = all(x.dim() and x.size(0) == size for x, size in zip(each, sizes, strict=True))
        return torch.cat(each) if are_rows else each[0]

    joined = (map_tensors(join, *(sample[key] for sample in samples)) for key in ("net_input", "target"))
    return {**samples[0], **dict(zip(("net_input", "target"), joined, strict=True))}


def take_sentences(sample: dict[str, Any], indices: Tensor) -> dict[str, Any]:
    """Return a new sample whose ``net_input`` and ``target`` hold the sentences at the indices, with their padding.

    The tensors are those that ``repeat_batch`` repeats. The counts stay those of ``sample``.
    """
    size = sample["target"].size(0)

    def take(x: Tensor) -> Tensor:
        return x.index_select(0, indices) if x.dim() and x.size(0) == size else x

    return {**sample, **{key: map_tensors(take, sample[key]) for key in ("net_input", "target")}}


def repeat_tensors(value: Any, batch_size: int, passes: int) -> Any:
    """Return ``value`` with every tensor, at any depth, ``passes`` times along a first dimension of ``batch_size``."""
    return map_tensors(lambda x: torch.cat([x] * passes) if x.dim() and x.size(0) == batch_size else x, value)


def map_tensors(function: Callable[..., Any], *values: Any) -> Any:
    """Return the first value with each tensor in it replaced by what the function makes of it.

    It goes through dicts and other mappings, lists, tuples, named tuples and dataclasses, at any depth, and leaves
    everything else as it is. With several values of one structure, the function gets the tensor of each.
    """
    first = values[0]
    if isinstance(first, Tensor):
        return function(*values)
    if isinstance(first, Mapping):
        items = {key: map_tensors(function, *(value[key] for value in values)) for key in first}
        if not isinstance(first, MutableMapping):
            return items
        copied = copy.copy(first)  # keeps what a class of its own holds besides, as Hugging Face's batches do
        for key, item in items.items():
            copied[key] = item
        return copied
    if isinstance(first, (list, tuple)):
        parts = [map_tensors(function, *each) for each in zip(*values, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        changed: Any = copy.copy(first)
        for field in dataclasses.fields(first):
            item = map_tensors(function, *(getattr(value, field.name) for value in values))
            object.__setattr__(changed, field.name, item)  # a frozen one too
        return changed
    return first


def forward_passes(
    model: nn.Module,
    sample: dict[str, Any],
    repeated: dict[str, Any],
    dropouts: Sequence[float] | None,
    passes: int,
    *,
    separate: bool | None = None,
    later: dict[str, Any] | None = None,
    within: Callable[[Sequence[int]], AbstractContextManager[None]] | None = None,
    **options: Any,
) -> Any:
    """Return the model's output for all passes, joined along the batch (the first dimension).

    The model runs once, on the repeated batch, where that equals ``passes`` forwards of the batch. Otherwise, or if
    each pass has its own dropout rate, it runs ``passes`` times on the batch; then everything after the first output is
    taken from the first pass.

    Args:
        sample: the batch, as for ``repeat_batch``.
        repeated: the result of ``repeat_batch(sample, passes)``.
        dropouts: one dropout rate for each pass, or None for the model's own rates.
        separate: whether each pass needs its own forward; if None, ``needs_separate_forwards`` is asked, which takes
            the time to look at every module of the model.
        later: the batch of the passes after the first, if it is another one, as a part of the sentences. Then
            ``repeated`` is the result of ``join_batches([sample, later, ...])``.
        within: is called for each forward with the passes that it holds, counted from 0; the forward runs within the
            context that it returns.
        options: more keyword arguments for the model.

    Raises:
        DropoutRateError: if there are ``dropouts`` and the model has no dropout that is switched on.
    """
    if separate is None:
        separate = needs_separate_forwards(model)
    context = within or (lambda numbers: nullcontext())
    if dropouts is None and not separate:
        with context(range(passes)):
            return model(**repeated["net_input"], **options)

    def forward(number: int) -> Any:
        one = later if number and later is not None else sample
        with context([number]):
            return model(**one["net_input"], **options)

    outputs = in_turn(model, dropouts, [partial(forward, number) for number in range(passes)])
    if isinstance(outputs[0], Tensor):
        return torch.cat(outputs)
    return (torch.cat([output[0] for output in outputs]), *outputs[0][1:])


def in_turn(model: nn.Module, dropouts: Sequence[float] | None, calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Return the results of the calls, one for each pass; with ``dropouts``, the model drops at that pass's rate."""
    if dropouts is None:
        return [call() for call in calls]
    results = []
    for call, rate in zip(calls, dropouts, strict=True):
        with dropout_rate(model, rate):
            results.append(call())
    return results


class _OneDraw(NamedTuple):
    """A kind of module that draws once for a whole batch."""

    kind: type[nn.Module]
    rate: Callable[[nn.Module], float]
    leaves_out_layers: bool


# LayerDrop as Hugging Face's models have it.
_LAYERDROPS = ("layerdrop", "config.layerdrop", "config.encoder_layerdrop", "config.decoder_layerdrop")

_ONE_DRAWS = [
    _OneDraw(nn.Module, lambda module: max(rate_at(module, path) for path in _LAYERDROPS), leaves_out_layers=True)
]


def register_one_draw(
    kind: type[nn.Module], rate: str | Callable[[nn.Module], float], *, leaves_out_layers: bool = False
) -> None:
    """Let all modules of ``kind``, and of classes derived from it, count as drawing once for a whole batch.

    Two copies of a sentence in one batch get the same draw from such a module, so each pass needs its own forward.

    Args:
        kind: the class of the modules.
        rate: the attribute that holds the rate at which they draw ("p", or "a.b" for an attribute of an attribute), or
            a function that returns the rate of a module. At rate 0 a module draws nothing.
        leaves_out_layers: whether the module leaves out layers by chance, as LayerDrop does.
    """
    function = rate if callable(rate) else lambda module: rate_at(module, rate)
    _ONE_DRAWS.append(_OneDraw(kind, function, leaves_out_layers))


def needs_separate_forwards(model: nn.Module) -> bool:
    """Return whether a forward of ``[x; x]`` would not be two independent forwards of x.

    A recurrent encoder wants its sources sorted by length, which those of ``[x; x]`` are not. Batch normalization in
    training mode would take the mean and variance of all copies together. A module that draws once for a whole batch
    (``register_one_draw``, or an attribute ``layerdrop`` above 0) would draw the same for all copies.
    """
    return _draws_once(model) or any(
        isinstance(module, nn.RNNBase) or (isinstance(module, _BatchNorm) and module.training)
        for module in model.modules()
    )


def drops_layers(model: nn.Module) -> bool:
    """Return whether a forward leaves out layers by chance (LayerDrop; Fan et al., 2020)."""
    return _draws_once(model, layers_only=True)


def is_random(model: nn.Module) -> bool:
    """Return whether a dropout, or anything else that makes two forwards differ, is switched on (rate above 0).

    Many modules read their rate from an attribute of their own in the forward. So an attribute of any module counts too
    if "dropout" is a part of its name and its value is a number above 0.
    """
    return (
        bool(dropouts_of(model))
        or _draws_once(model)
        or any("dropout" in name and rate_at(module, name) > 0 for module in model.modules() for name in vars(module))
    )


def _draws_once(model: nn.Module, layers_only: bool = False) -> bool:
    """Return whether a module of the model draws once for a whole batch, or leaves out layers."""
    draws = [draw for draw in _ONE_DRAWS if draw.leaves_out_layers or not layers_only]
    return any(isinstance(module, draw.kind) and draw.rate(module) > 0 for module in model.modules() for draw in draws)
