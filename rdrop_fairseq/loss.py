"""R-Drop's loss for any PyTorch loop, from the outputs of M passes, with the conventions of torch's own losses."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rdrop_fairseq.checks import (
    MEAN,
    NONE,
    REDUCTIONS,
    check_name,
    check_numbers,
    check_tensor,
    split_passes,
    weights_of_passes,
)
from rdrop_fairseq.divergence import DIVERGENCES
from rdrop_fairseq.terms import Function, LossOptions, LossTerms, binary_cross_entropy, cross_entropy, general
from rdrop_fairseq.watch import warn_if_no_effect

LOSSES = ("cross_entropy", "binary_cross_entropy", "mse")


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
    options = LossOptions(alpha, divergence, label_smoothing, ignore_index, weight, weights)
    if loss == "cross_entropy":
        terms = cross_entropy(split, target, options)
    elif loss == "binary_cross_entropy":
        terms = binary_cross_entropy(split, target, options)
    else:
        terms = general(split, target, options, is_mse=loss == "mse")
    if terms.divergence is not None and not callable(divergence) and loss != "mse":
        warn_if_no_effect(terms.divergence, terms.divergence_size)
    return _reduce(terms, alpha, reduction, split)


def _reduce(terms: LossTerms, alpha: float, reduction: str, outputs: Tensor) -> Tensor:
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
