"""R-Drop on a random part of the batch: which sentences get more than one pass, and what their losses count.

With M passes whose losses have the weights ``w_i``, the loss of the whole batch is ``sum_b [sum_i w_i l_i(b) + alpha
D(b)]`` over its B sentences. Here only k of them, drawn without replacement, get all passes. The others get the first
pass alone. With ``s = k / B`` the estimate is

    sum over all sentences:       w_1 l_1(b)
    sum over the k sentences:     sum_i c_i l_i(b) + alpha / s D(b),  with c_i = w_i, or w_i / s for a pass i unlike 1
    sum over the other sentences: (sum of w_i over the passes i like 1) l_1(b)

where i runs over the passes after the first. A pass is like the first if it has the same dropout rate and both are cut
or both are not: then its loss has the same distribution, and where it is missing the first pass counts in its place.
Each sentence is among the k with probability s. So in expectation, over the draw and the dropout, the estimate is the
loss of the whole batch. The divergence is divided by s, and not by the drawn sentences' share of the tokens: a share
that depends on the draw would favour the divergence of short sentences.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Shares(NamedTuple):
    """What the terms of the loss count."""

    drawn: tuple[float, ...]  # the weight of each pass, of the sentences that have all passes
    rest: float  # the weight of the first pass, of the others
    alpha: float  # the weight of the divergence


def draw_sentences(size: int, fraction: float, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """Draw ``fraction * size`` of the indices 0 to ``size`` - 1, rounded, at least one, by torch's generator.

    Returns:
        The drawn indices and the others, both in ascending order; None if all are to be drawn, and then nothing is.
    """
    count = max(1, round(fraction * size))
    if count >= size:
        return None
    order = torch.randperm(size, device=device)
    return order[:count].sort().values, order[count:].sort().values


def shares_of(weights: Sequence[float], like_first: Sequence[bool], alpha: float, share: float) -> Shares:
    """Return what the terms count (see the module's first lines).

    Args:
        weights: ``w_i``, one for each pass.
        like_first: for each pass whether it is like the first.
        alpha: weight of the divergence.
        share: ``s``, the part of the sentences that have all passes.
    """
    later = list(zip(weights, like_first, strict=True))[1:]
    drawn = (weights[0], *(weight if like else weight / share for weight, like in later))
    return Shares(drawn, weights[0] + sum(weight for weight, like in later if like), alpha / share)
