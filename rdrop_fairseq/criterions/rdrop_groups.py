"""The sentences of a batch that had the same passes, and what their losses count."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rdrop_fairseq.fraction import Shares
from rdrop_fairseq.fused import RDropLoss
from rdrop_fairseq.passes import repeat_batch, take_sentences


class Group(NamedTuple):
    """Sentences that had the same passes, with the model's output for them, and what their losses count."""

    sample: dict[str, Any]  # one copy of the sentences
    repeated: dict[str, Any]  # as many copies as they had passes
    net_output: Any  # of all copies, joined along the batch
    weights: tuple[float, ...]  # of the task's loss in each pass
    alpha: float  # of the divergence

    @property
    def passes(self) -> int:
        """How many passes the sentences had."""
        return len(self.weights)

    @property
    def is_labeled(self) -> bool:
        """Whether any pass has a task's loss."""
        return any(self.weights)

    @property
    def is_even(self) -> bool:
        """Whether the loss of every pass counts once, so that it may be summed before it is told apart by pass."""
        return set(self.weights) == {1.0}

    def weighted(self, values: Tensor) -> Tensor:
        """Return the weighted sum over the passes, of values ``[M, ...]``."""
        if self.is_even:
            return values.sum(0)
        values = values if values.is_floating_point() else values.float()
        weights = values.new_tensor(self.weights).view(-1, *[1] * (values.dim() - 1))
        return (weights * values).sum(0)  # no matrix product, which autocast would take for one of the model's


def split_groups(
    sample: dict[str, Any], net_output: Any, indices: tuple[Tensor, Tensor], passes: int, shares: Shares
) -> list[Group]:
    """Return the sentences that had all passes, and those that had the first pass alone.

    Args:
        sample: the whole batch.
        net_output: the model's output, of the whole batch in the first pass, then of the drawn sentences in each of
            the later ones.
        indices: of the sentences that had all passes, and of the others.
        passes: M.
        shares: what their losses count.
    """
    drawn, rest = indices
    later = torch.arange(drawn.numel() * (passes - 1), device=drawn.device) + drawn.numel() + rest.numel()
    of_drawn, of_rest = (take_sentences(sample, indices) for indices in (drawn, rest))
    all_passes = _rows(net_output, torch.cat([drawn, later]))
    return [
        Group(of_drawn, repeat_batch(of_drawn, passes), all_passes, shares.drawn, shares.alpha),
        Group(of_rest, of_rest, _rows(net_output, rest), (shares.rest,), 0.0),
    ]


def without_labels(sample: dict[str, Any]) -> Tensor:
    """Return which sentences of a batch have no label, as a bool for each, ``[B]``.

    A dummy batch, which fairseq gives to a process that has none left, is of the validation set: all have labels there.
    """
    target: Tensor = sample["target"]
    unlabeled: Tensor = sample.get("unlabeled", target.new_zeros(len(target), dtype=torch.bool))
    return unlabeled


def split_labels(
    sample: dict[str, Any],
    net_output: Any,
    indices: Sequence[Tensor],
    weights: tuple[float, ...],
    alphas: Sequence[float],
) -> list[Group]:
    """Return the sentences that have labels, and those that have none and so no task's loss, if there are any.

    Args:
        sample: the whole batch.
        net_output: the model's output, of the whole batch in each pass.
        indices: of the sentences with labels, and of the others.
        weights: of the task's loss in each pass.
        alphas: the weights of the divergence, with labels and without.
    """
    size = sum(at.numel() for at in indices)
    groups = []
    for at, of_passes, alpha in zip(indices, (weights, (0.0,) * len(weights)), alphas, strict=True):
        if not at.numel():
            continue
        one = take_sentences(sample, at)
        rows = torch.cat([at + size * number for number in range(len(weights))])
        groups.append(Group(one, repeat_batch(one, len(weights)), _rows(net_output, rows), of_passes, alpha))
    return groups


def join_results(results: Sequence[RDropLoss], indices: Sequence[Tensor], reduce: bool) -> RDropLoss:
    """Return the result of the whole batch from those of its groups.

    Without ``reduce``, the loss and the divergence hold a value for each position of one copy. They come back in the
    order of the whole batch, whose sentences the groups have at the indices.
    """
    if len(results) == 1:
        return results[0]
    if reduce:
        return RDropLoss(*(torch.stack(each).sum(0) for each in zip(*results, strict=True)))
    order = torch.cat(list(indices)).argsort()
    joined = []
    for each in zip(*results, strict=True):
        if not each[0].dim():  # n_correct is one number
            joined.append(torch.stack(each).sum(0))
            continue
        by_sentence = torch.cat([one.unflatten(0, (len(at), -1)) for one, at in zip(each, indices, strict=True)])
        joined.append(by_sentence.index_select(0, order).flatten(0, 1))
    return RDropLoss(*joined)


def _rows(net_output: Any, rows: Tensor) -> Any:
    """Return the output with the given rows of its logits or features; what comes after them stays as it is."""
    if isinstance(net_output, Tensor):
        return net_output.index_select(0, rows)
    return (net_output[0].index_select(0, rows), *net_output[1:])
