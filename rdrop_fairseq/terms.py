"""The two terms of R-Drop's loss at each position: the task's loss and the divergence of M passes; torch only."""

from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rdrop_fairseq.checks import check_classes, check_shape, may_look, refuse_infinite
from rdrop_fairseq.divergence import accumulation_dtype
from rdrop_fairseq.divergence import divergence as divergence_of

Function = Callable[[Tensor, Tensor], Tensor]


class LossTerms(NamedTuple):
    """The two terms of the loss at each position (or element) of one pass, and by what a mean divides their sums."""

    task: Tensor | None  # summed over the passes; None without a target
    divergence: Tensor | None  # averaged over the pairs of passes; None if alpha is 0
    task_size: Tensor | int
    divergence_size: Tensor | int


class LossOptions(NamedTuple):
    """The arguments of ``rdrop_loss`` that its kinds of loss share, with its defaults."""

    alpha: float  # only whether it is 0 matters to the terms
    divergence: str | Function = "symmetric"
    label_smoothing: float = 0.0
    ignore_index: int = -100
    weight: Tensor | None = None
    pass_weights: tuple[float, ...] = (1.0,)  # all of them 1, however many passes there are
    check: bool = True  # whether to look for wrong values; fairseq does that itself


def cross_entropy(outputs: Tensor, target: Tensor | None, options: LossOptions) -> LossTerms:
    """Return the terms at each position, of logits ``[M, N, ..., C]``."""
    if outputs.dim() < 3 or not outputs.size(-1):
        raise ValueError(f"outputs of shape {list(outputs.shape[1:])} in each pass: must be [N, ..., C] with C > 0")
    shape, classes = outputs.shape[1:-1], outputs.size(-1)
    if options.weight is not None and options.weight.shape != (classes,):
        raise ValueError(f"weight of shape {list(options.weight.shape)}: must be [{classes}], one for each class")
    is_indices = target is not None and not target.is_floating_point()
    ignored = None
    if target is not None and is_indices:
        is_second = list(target.shape) == [outputs.size(1), *outputs.shape[3:]]
        hint = "; the classes are the last dimension: outputs.movedim(1, -1)" if is_second else ""
        check_shape(target, shape, outputs, hint)
        target = target.long()
        if options.check and may_look(target):
            check_classes(target, classes, options.ignore_index)
        ignored = target.eq(options.ignore_index)
        outputs = outputs.masked_fill(ignored.unsqueeze(-1), 0)  # NaN there would reach the gradient: 0 times it is NaN
    elif target is not None:
        check_shape(target, outputs.shape[1:], outputs)
        _check_range(target, 0, 1, 'loss="binary_cross_entropy" and "mse" take others')
    lprobs = outputs.log_softmax(-1, dtype=accumulation_dtype(outputs))
    if options.check:
        refuse_infinite("outputs", lprobs[..., 0].isnan())
    count: Tensor | int = shape.numel() if ignored is None else ignored.logical_not().sum()
    task, size = None, count
    if target is not None and is_indices and ignored is not None:
        task = _at_target(lprobs, target, options).masked_fill(ignored, 0)
        if options.weight is not None:
            size = options.weight[target.masked_fill(ignored, 0)].masked_fill(ignored, 0).sum()
    elif target is not None:
        probs = target.to(lprobs.dtype) * (1 - options.label_smoothing) + options.label_smoothing / classes
        task = -(lprobs * (probs if options.weight is None else probs * options.weight)).sum(-1)
    return LossTerms(_sum_of_passes(task, options), _between(outputs, lprobs, ignored, options), size, count)


def _at_target(lprobs: Tensor, target: Tensor, options: LossOptions) -> Tensor:
    """Return the label-smoothed cross-entropy ``[M, N, ...]`` of log-probabilities ``[M, N, ..., C]``."""
    weight = None if options.weight is None else options.weight.to(lprobs.dtype)
    words = target.expand(lprobs.shape[:-1]).flatten()
    nll = F.nll_loss(lprobs.flatten(0, -2), words, weight, ignore_index=options.ignore_index, reduction="none")
    nll = nll.view(lprobs.shape[:-1])
    epsilon = options.label_smoothing
    if not epsilon:
        return nll
    uniform = -(lprobs if weight is None else lprobs * weight).sum(-1)
    return (1 - epsilon) * nll + epsilon / lprobs.size(-1) * uniform


def binary_cross_entropy(outputs: Tensor, target: Tensor | None, options: LossOptions) -> LossTerms:
    """Return the terms at each element, of logits ``[M, N, ...]``."""
    ignored = None
    if target is not None:
        check_shape(target, outputs.shape[1:], outputs)
        target = target.to(accumulation_dtype(outputs))
        ignored = target.eq(options.ignore_index)
        target = target.masked_fill(ignored, 0)
        _check_range(target, 0, 1, f"ignore_index ({options.ignore_index}) is left out")
        outputs = outputs.masked_fill(ignored, 0)
    logits = outputs.to(accumulation_dtype(outputs))
    refuse_infinite("outputs", ~logits.isfinite())
    count: Tensor | int = logits[0].numel() if ignored is None else ignored.logical_not().sum()
    task = None
    if target is not None:
        probs = target * (1 - options.label_smoothing) + options.label_smoothing / 2
        task = F.binary_cross_entropy_with_logits(logits, probs.expand_as(logits), options.weight, reduction="none")
        task = task.masked_fill(ignored, 0) if ignored is not None else task
    lprobs = torch.stack([F.logsigmoid(logits), F.logsigmoid(-logits)], -1)
    return LossTerms(_sum_of_passes(task, options), _between(outputs, lprobs, ignored, options), count, count)


def general(outputs: Tensor, target: Tensor | None, options: LossOptions, is_mse: bool) -> LossTerms:
    """Return the terms by a function of two tensors, of outputs ``[M, N, ...]``: that of the caller, or ``mse``."""
    if options.label_smoothing:
        raise ValueError(f"label_smoothing {options.label_smoothing}: must be 0 for this loss")
    if not callable(options.divergence) and options.divergence != "symmetric":
        raise ValueError(
            f"divergence {options.divergence!r}: is for distributions; must be a function for real numbers"
        )
    if options.check:
        refuse_infinite("outputs", ~outputs.isfinite())
    between = options.divergence if callable(options.divergence) else _squared
    task = None
    if is_mse and target is not None:
        check_shape(target, outputs.shape[1:], outputs)
        if options.check:
            refuse_infinite("target", ~target.isfinite())
    elif options.weight is not None:
        raise ValueError("weight: must be None where the divergence is a function that is the loss too")
    if target is not None:
        own = _squared if is_mse else between
        task = torch.stack([own(target, output) for output in outputs])
        task = task if options.weight is None else task * options.weight
    found = _over_pairs(between, outputs) if options.alpha else None
    sizes = [1 if term is None else term[0].numel() for term in (task, None if found is None else found[None])]
    return LossTerms(_sum_of_passes(task, options), found, *sizes)


def _squared(one: Tensor, other: Tensor) -> Tensor:
    """Return the squared difference of each element."""
    dtype = accumulation_dtype(other)
    return (one.to(dtype) - other.to(dtype)).square()


def _between(outputs: Tensor, lprobs: Tensor, ignored: Tensor | None, options: LossOptions) -> Tensor | None:
    """Return the divergence ``[N, ...]`` between the passes; it is 0 where the target is ignored."""
    if not options.alpha:
        return None
    if callable(options.divergence):
        found = _over_pairs(options.divergence, outputs)
        if found.shape != lprobs.shape[1:-1]:
            shapes = f"{list(found.shape)}: must be {list(lprobs.shape[1:-1])}"
            raise ValueError(f"divergence returned values of shape {shapes}, one for each that the loss has")
    else:
        found = divergence_of(lprobs, options.divergence, check=False)
    return found if ignored is None else found.masked_fill(ignored, 0)


def _over_pairs(function: Function, outputs: Tensor) -> Tensor:
    """Return ``1/2 [D(f_j, f_i) + D(f_i, f_j)]``, averaged over the pairs of passes."""
    pairs = [(function(other, one) + function(one, other)) / 2 for one, other in combinations(outputs.unbind(), 2)]
    return torch.stack(pairs).mean(0)


def _sum_of_passes(task: Tensor | None, options: LossOptions) -> Tensor | None:
    """Return the weighted sum over the first dimension."""
    if task is None or set(options.pass_weights) == {1.0}:
        return None if task is None else task.sum(0)
    return torch.stack([weight * one for weight, one in zip(options.pass_weights, task, strict=True)]).sum(0)


def _check_range(target: Tensor, lowest: float, highest: float, hint: str) -> None:
    """Raise ``ValueError`` if an element of the target is out of range, where its values may be looked at."""
    if may_look(target) and (wrong := target[~((target >= lowest) & (target <= highest))]).numel():
        raise ValueError(f"target {wrong[0].item():g}: must be {lowest} to {highest}; {hint}")
