"""R-Drop's loss for any PyTorch loop, from the outputs of M passes, with the conventions of torch's own losses."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rdrop_fairseq.checks import (
    MEAN,
    NONE,
    REDUCTIONS,
    check_classes,
    check_name,
    check_numbers,
    check_shape,
    check_tensor,
    may_look,
    refuse_infinite,
    split_passes,
    weights_of_passes,
)
from rdrop_fairseq.divergence import DIVERGENCES, accumulation_dtype
from rdrop_fairseq.divergence import divergence as divergence_of
from rdrop_fairseq.watch import warn_if_no_effect

LOSSES = ("cross_entropy", "binary_cross_entropy", "mse")

Function = Callable[[Tensor, Tensor], Tensor]


class _Terms(NamedTuple):
    """The two terms of the loss at each position (or element) of one pass, and by what a mean divides their sums."""

    task: Tensor | None  # summed over the passes; None without a target
    divergence: Tensor | None  # averaged over the pairs of passes; None if alpha is 0
    task_size: Tensor | int
    divergence_size: Tensor | int


class _Options(NamedTuple):
    """The arguments of ``rdrop_loss`` that its kinds of loss share."""

    alpha: float
    divergence: str | Function
    label_smoothing: float
    ignore_index: int
    weight: Tensor | None
    pass_weights: tuple[float, ...]


def rdrop_loss(
    outputs: Tensor | Sequence[Tensor],
    target: Tensor | None,
    alpha: float,
    *,
    passes: int = 2,
    loss: str | None = None,
    divergence: str | Function = "symmetric",
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: str = "mean",
    weight: Tensor | None = None,
    pass_weights: Sequence[float] | None = None,
) -> Tensor:
    """Return R-Drop's loss (Liang et al., 2021, eq. 4) of the outputs of M passes with different dropout.

    For two passes and class indices it equals::

        first, second = outputs.chunk(2)
        p, q = first.log_softmax(-1), second.log_softmax(-1)
        kl = ((p.exp() - q.exp()) * (p - q)).sum(-1) / 2        # 1/2 [KL(p || q) + KL(q || p)] at each position
        loss = F.cross_entropy(first, target) + F.cross_entropy(second, target) + alpha * kl.mean()

    The task's loss is the sum over the passes, not their mean. So the loss of a baseline is half of it, and a loss
    ``mean of both cross-entropies + a * kl`` is half of this one with ``alpha = 2 * a``.

    The kinds of loss:

    - ``cross_entropy``: ``outputs`` are logits whose **last** dimension is the classes (``F.cross_entropy`` has them in
      the second one). The target is class indices ``[N, ...]`` or, in floating point, probabilities ``[N, ..., C]``.
    - ``binary_cross_entropy``: each output is a logit of its own, as for several labels at once. The target has the
      shape of one pass and is 0, 1 or between. The divergence is that of Bernoulli distributions, label by label.
    - ``mse``: outputs and target are real numbers of one shape: squared error, and the mean squared difference between
      passes as the divergence (equations 7 and 8).

    Args:
        outputs: ``[M * N, ...]``, the batch of the first pass before that of the second, as a forward of
            ``torch.cat([x, x])`` gives; or a tuple of M tensors ``[N, ...]``.
        target: the target of one pass, not repeated. None gives ``alpha`` times the divergence alone, as for examples
            without a label.
        alpha: weight of the divergence, >= 0. 0 leaves it out.
        passes: M >= 2; a tuple says by itself how many there are.
        loss: one of ``LOSSES``. None is ``cross_entropy``; with a function as divergence it is the general form (see
            there).
        divergence: one of ``divergence.DIVERGENCES``, averaged over the pairs of passes. Or a function D of two
            tensors ``[N, ...]``, with a value for each sample, position or element: then the divergence of two passes
            is ``1/2 [D(f2, f1) + D(f1, f2)]``, with the outputs f1 and f2. If ``loss`` is None, D is the task's loss
            too, as ``D(target, f1) + D(target, f2)``: the general form of R-Drop (https://kexue.fm/archives/8496).
        label_smoothing: epsilon in [0, 1), spread over all classes, as in ``F.cross_entropy``.
        ignore_index: a class index, or a binary target, that does not count: neither in the loss nor in the
            divergence, and whatever the outputs hold there reaches no gradient.
        reduction: ``mean`` over the positions of one pass that count (for ``binary_cross_entropy`` and ``mse`` over
            the elements), ``sum``, or ``none``: a value for each, 0 where it is ignored. The mean of nothing is 0.
        weight: weights of the classes, ``[C]``, for the task's loss alone; as in torch, its mean is then divided by
            the sum of the weights of the targets (for ``binary_cross_entropy`` and ``mse`` by the number of elements).
        pass_weights: the weight of the task's loss in each pass; 1 for each if None.

    If a named divergence stays near 0 in the first 100 batches that a process trains on, it warns once.

    Returns:
        A scalar, or with ``none`` a tensor of a value for each position or element, in nats (``mse``: in squared
        units), in float32 (float64 for float64). It is differentiable once.

    Raises:
        ValueError: if shapes do not fit together, a number is out of range or a name is unknown. On a CPU also if a
            target is out of range or an output that counts is NaN or infinite. Of class logits, -inf forbids a class
            and is allowed; if only some passes forbid it, the divergence is infinite. On a GPU looking for these would
            wait for it: there a class out of range is a failed assertion of torch's, and NaN goes on into the loss.
        TypeError: if the outputs, the target or the weight are no tensors, or a number is none.
    """
    check_numbers(alpha, label_smoothing, ignore_index)
    check_name("reduction", reduction, REDUCTIONS)
    if not callable(divergence):
        check_name("divergence", divergence, DIVERGENCES)
    if loss is not None:
        check_name("loss", loss, LOSSES)
    split = split_passes(outputs, passes)
    for name, value in (("target", target), ("weight", weight)):
        if value is not None:
            check_tensor(name, value, "a tensor or None")
    if loss is None and not callable(divergence):
        loss = "cross_entropy"
    weights = weights_of_passes(pass_weights, len(split))
    options = _Options(alpha, divergence, label_smoothing, ignore_index, weight, weights)
    if loss == "cross_entropy":
        terms = _cross_entropy(split, target, options)
    elif loss == "binary_cross_entropy":
        terms = _binary_cross_entropy(split, target, options)
    else:
        terms = _general(split, target, options, is_mse=loss == "mse")
    if terms.divergence is not None and not callable(divergence) and loss != "mse":
        warn_if_no_effect(terms.divergence, terms.divergence_size)
    return _reduce(terms, alpha, reduction, split)


def _cross_entropy(outputs: Tensor, target: Tensor | None, options: _Options) -> _Terms:
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
        if may_look(target):
            check_classes(target, classes, options.ignore_index)
        ignored = target.eq(options.ignore_index)
        outputs = outputs.masked_fill(ignored.unsqueeze(-1), 0)  # NaN there would reach the gradient: 0 times it is NaN
    elif target is not None:
        check_shape(target, outputs.shape[1:], outputs)
        _check_range(target, 0, 1, 'loss="binary_cross_entropy" and "mse" take others')
    lprobs = outputs.log_softmax(-1, dtype=accumulation_dtype(outputs))
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
    return _Terms(_sum_of_passes(task, options), _between(outputs, lprobs, ignored, options), size, count)


def _at_target(lprobs: Tensor, target: Tensor, options: _Options) -> Tensor:
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


def _binary_cross_entropy(outputs: Tensor, target: Tensor | None, options: _Options) -> _Terms:
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
    return _Terms(_sum_of_passes(task, options), _between(outputs, lprobs, ignored, options), count, count)


def _general(outputs: Tensor, target: Tensor | None, options: _Options, is_mse: bool) -> _Terms:
    """Return the terms by a function of two tensors, of outputs ``[M, N, ...]``: that of the caller, or ``mse``."""
    if options.label_smoothing:
        raise ValueError(f"label_smoothing {options.label_smoothing}: must be 0 for this loss")
    if not callable(options.divergence) and options.divergence != "symmetric":
        raise ValueError(
            f"divergence {options.divergence!r}: is for distributions; must be a function for real numbers"
        )
    refuse_infinite("outputs", ~outputs.isfinite())
    between = options.divergence if callable(options.divergence) else _squared
    task = None
    if is_mse and target is not None:
        check_shape(target, outputs.shape[1:], outputs)
        refuse_infinite("target", ~target.isfinite())
    elif options.weight is not None:
        raise ValueError("weight: must be None where the divergence is a function that is the loss too")
    if target is not None:
        own = _squared if is_mse else between
        task = torch.stack([own(target, output) for output in outputs])
        task = task if options.weight is None else task * options.weight
    found = _over_pairs(between, outputs) if options.alpha else None
    sizes = [1 if term is None else term[0].numel() for term in (task, None if found is None else found[None])]
    return _Terms(_sum_of_passes(task, options), found, *sizes)


def _squared(one: Tensor, other: Tensor) -> Tensor:
    """Return the squared difference of each element."""
    dtype = accumulation_dtype(other)
    return (one.to(dtype) - other.to(dtype)).square()


def _between(outputs: Tensor, lprobs: Tensor, ignored: Tensor | None, options: _Options) -> Tensor | None:
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


def _sum_of_passes(task: Tensor | None, options: _Options) -> Tensor | None:
    """Return the weighted sum over the first dimension."""
    if task is None or set(options.pass_weights) == {1.0}:
        return None if task is None else task.sum(0)
    return torch.stack([weight * one for weight, one in zip(options.pass_weights, task, strict=True)]).sum(0)


def _reduce(terms: _Terms, alpha: float, reduction: str, outputs: Tensor) -> Tensor:
    """Return the loss from its terms."""
    both = ((terms.task, terms.task_size, 1.0), (terms.divergence, terms.divergence_size, alpha))
    found = [(term, size, factor) for term, size, factor in both if term is not None]
    if not found:  # alpha is 0 and there is no target
        return outputs.sum() * 0 if reduction != NONE else outputs[0] * 0
    if reduction == NONE:
        if any(term.shape != found[0][0].shape for term, _, _ in found):
            raise ValueError('reduction "none": must be mean or sum where the loss and the divergence differ in shape')
        return torch.stack([factor * term for term, _, factor in found]).sum(0)
    sums = [factor * term.sum() / (_at_least_one(size) if reduction == MEAN else 1) for term, size, factor in found]
    return torch.stack(sums).sum()


def _at_least_one(size: Tensor | int) -> Tensor | int:
    """Return the size, and 1 in place of 0: then the mean of nothing is 0."""
    return size.masked_fill(size == 0, 1) if isinstance(size, Tensor) else size or 1


def _check_range(target: Tensor, lowest: float, highest: float, hint: str) -> None:
    """Raise ``ValueError`` if an element of the target is out of range, where its values may be looked at."""
    if may_look(target) and (wrong := target[~((target >= lowest) & (target <= highest))]).numel():
        raise ValueError(f"target {wrong[0].item():g}: must be {lowest} to {highest}; {hint}")
