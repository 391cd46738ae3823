"""The elementwise block of ``fused.py`` in torch's own operations, and the types that it shares with its GPU kernel."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from rdrop_fairseq.divergence import KL_DIVERGENCES, bhattacharyya, float16_factor, gradient, log_ratios, pair_weights

# Logits that are worked on at once. On a CPU, they and two temporaries of their size stay in the last cache; fewer
# would stay in a nearer one, but then the calls of torch cost more than that saves. On a GPU, 2^22 logits stay in its
# cache, but with that few the head took 29 to 45 times as long as its matrix products (bfloat16, an H200), because
# nearly all of that time went into launches.
BLOCK = {"cpu": 1 << 20, "cuda": 1 << 25}


class Settings(NamedTuple):
    """What the loss is made of, the same for all tokens."""

    alpha: float
    at_target: float  # weight of the target's log-probability, 1 - eps - e
    uniform: float  # weight of every word's log-probability, e
    kind: str  # of the divergence
    with_grad: bool  # whether any gradient is wanted
    dtype: torch.dtype  # of the matrix products
    pass_weights: tuple[float, ...]  # weight of the cross-entropy in each pass


class Facts(NamedTuple):
    """What is known of each token and pass: tensors ``[N, M]`` in float32 (float64 for float64)."""

    log_sum: Tensor  # log sum_v exp(z_v)
    target_logit: Tensor
    divergence: Tensor  # its sum over the passes is the divergence
    summed_logits: Tensor  # without the bias
    correct: Tensor  # 1 where the target is the likeliest word


def loss_and_gradient(logits: Tensor, target: Tensor, settings: Settings, facts: Facts) -> Tensor | None:
    """Fill in the first three facts and turn the logits into their own gradient, in place.

    The part ``-e`` of the gradient (see ``fused.py``) is left out. Without ``settings.with_grad`` what the logits hold
    afterwards has no meaning.

    Args:
        logits: ``[N, M, V]``, contiguous.
        target: word indices ``[N]``.
        facts: tensors ``[N, M]`` to write to.

    Returns:
        In float16, the factor ``[1]``, in float32, by which the gradient is multiplied; otherwise None, and the
        gradient is not multiplied.
    """
    tokens, passes, vocab = logits.shape
    is_float16 = logits.dtype == torch.float16
    # The factor needs the gradient of all tokens, so in float16 they are one block: fused.py takes smaller chunks.
    block_size = max(1, tokens) if is_float16 else even_size(tokens, passes * vocab, limit_for(BLOCK, logits))
    scratch = facts.log_sum.new_empty(2, block_size, passes, vocab)
    factor = None
    for block in slices(tokens, block_size):
        part = logits[block]
        grad = _work(part, target[block], settings, Facts(*(fact[block] for fact in facts)), scratch)
        if is_float16 and settings.with_grad:
            factor = float16_factor(grad)
            grad.mul_(factor)
        if grad is not part:
            part.copy_(grad)
    return factor


def _work(logits: Tensor, target: Tensor, settings: Settings, facts: Facts, scratch: Tensor) -> Tensor:
    """Fill in the facts of one block and return its gradient, in the type of the facts.

    The gradient lies in the memory of the logits, unless they are in half precision.
    """
    passes = logits.size(1)
    probs, rest = scratch[:, : len(logits)]
    values = logits.to(probs.dtype)  # the logits themselves, unless they are in half precision
    words = target.view(-1, 1, 1).expand(-1, passes, 1)
    facts.target_logit.copy_(values.gather(-1, words).squeeze(-1))
    torch.softmax(values, -1, out=probs)
    facts.log_sum.copy_(values.amax(-1) - probs.amax(-1).log_())
    task = probs.new_tensor(settings.pass_weights)
    if passes == 1:  # there is no divergence
        facts.divergence.zero_()
        torch.mul(probs, task.unsqueeze(-1), out=values)
    elif settings.kind == "bhattacharyya":
        _bhattacharyya(values, probs, settings, facts, rest, task)
    else:
        _by_ratios(values, probs, settings, facts, rest, task)
    if not settings.with_grad:
        return logits
    values.scatter_add_(-1, words, (-settings.at_target * task).view(1, -1, 1).expand(words.shape))
    return values


def _bhattacharyya(
    values: Tensor, probs: Tensor, settings: Settings, facts: Facts, means: Tensor, task: Tensor
) -> None:
    """Fill in the divergence and turn the logits into the gradient without the target's part, in place."""
    passes = values.size(1)
    found = bhattacharyya(values.transpose(0, 1), facts.log_sum.t(), out=means.transpose(0, 1))
    facts.divergence.copy_((found / passes).unsqueeze(-1))
    if not settings.with_grad:
        return
    share = settings.alpha / passes
    torch.mul(probs, (task + share).unsqueeze(-1), out=values).sub_(means, alpha=share)


def _by_ratios(values: Tensor, probs: Tensor, settings: Settings, facts: Facts, ratios: Tensor, task: Tensor) -> None:
    """Do what ``_bhattacharyya`` does, for the divergences that are sums of probabilities times ratios."""
    passes, vocab = values.shape[1:]
    weights = pair_weights(passes, settings.kind)
    columns = probs.new_tensor([sum(column) for column in zip(*weights, strict=True)])
    alpha = settings.alpha
    by_gap = passes == 2 and settings.kind in KL_DIVERGENCES  # then both ratios are multiples of one gap
    if by_gap:
        (_, to_second), (to_first, _) = weights
        gap = torch.sub(values[:, 1], values[:, 0], out=ratios.view(2, -1, vocab)[0])
        slopes = (to_second, -to_first)
        share = torch.mul(probs, gap.unsqueeze(1), out=values).sum(-1).mul_(probs.new_tensor(slopes))
    else:
        if settings.kind not in KL_DIVERGENCES:
            values.sub_(facts.log_sum.unsqueeze(-1))
        log_ratios(values.transpose(0, 1), settings.kind, out=ratios.transpose(0, 1))
        share = torch.mul(probs, ratios, out=values).sum(-1)  # the logits are not needed any more
    facts.divergence.copy_(share - columns * facts.log_sum)
    if not settings.with_grad:
        return
    constant = task - alpha * (share + columns)
    if by_gap:
        for this, other in ((0, 1), (1, 0)):
            grad, own = values[:, this], constant[:, this] + alpha * weights[this][this]
            torch.add(own.unsqueeze(-1), gap, alpha=alpha * slopes[this], out=grad).mul_(probs[:, this])
            if weights[other][this]:
                grad.add_(probs[:, other], alpha=alpha * weights[other][this])
    else:
        gradient(
            ratios.transpose(0, 1),
            probs.transpose(0, 1),
            settings.kind,
            out=values.transpose(0, 1),
            alpha=alpha,
            constant=constant.t().unsqueeze(-1),
        )


def limit_for(limits: dict[str, int], tensor: Tensor) -> int:
    """Return the limit for the device of the tensor."""
    return limits["cuda" if tensor.is_cuda else "cpu"]


def even_size(tokens: int, numbers: int, limit: int) -> int:
    """Return how many tokens to take at once, so that all parts have about one size.

    Args:
        tokens: how many there are in all.
        numbers: how many numbers each token has.
        limit: how many numbers a part may hold; a part holds at least one token.
    """
    parts = math.ceil(tokens / max(1, limit // numbers))
    return max(1, math.ceil(tokens / max(1, parts)))


def slices(length: int, step: int) -> Iterator[slice]:
    """Return the slices of ``step`` positions that cover ``length`` positions; the last one may be shorter."""
    return (slice(start, min(start + step, length)) for start in range(0, length, step))
