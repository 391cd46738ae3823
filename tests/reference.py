"""R-Drop as loops, from the equations of the paper (Liang et al., 2021), in float64: what the package must equal.

Slow and plain on purpose: the loops go over words, passes and clusters. Each number in them is a tensor over the
positions, so autograd gives the gradient of each equation too.
"""

import math
from typing import NamedTuple

import torch


class RDrop(NamedTuple):
    loss: torch.Tensor  # sum over the passes + alpha * kl_loss (eq. 4), summed over the positions
    nll_loss: torch.Tensor  # weighted mean over the passes, summed over the positions
    kl_loss: torch.Tensor  # mean over the pairs of passes (eq. 2), summed over the positions


def log_softmax(logits):
    """``log p_v = x_v - log sum_u exp(x_u)`` of ``logits [..., V]``, shifted so that nothing overflows."""
    largest = logits.detach().amax(-1)
    total = sum(torch.exp(x - largest) for x in logits.unbind(-1))
    return torch.stack([x - largest - torch.log(total) for x in logits.unbind(-1)], -1)


def kl(lp, lq):
    """``KL(p || q) = sum_v p_v (log p_v - log q_v)``, where a word with ``p_v = 0`` counts 0 (0 log 0 = 0)."""
    total = torch.zeros(lp.shape[:-1], dtype=lp.dtype)
    for lp_v, lq_v in zip(lp.unbind(-1), lq.unbind(-1), strict=True):
        absent = lp_v == -math.inf
        lp_v, lq_v = lp_v.masked_fill(absent, 0.0), lq_v.masked_fill(absent, 0.0)
        total = total + torch.exp(lp_v) * (lp_v - lq_v)
    return total


def log_mean(lp, lq):
    """``log m_v`` with ``m_v = (p_v + q_v) / 2``."""
    means = []
    for lp_v, lq_v in zip(lp.unbind(-1), lq.unbind(-1), strict=True):
        absent = (lp_v == -math.inf) & (lq_v == -math.inf)  # where the gradient would be 0 / 0
        lm_v = torch.logaddexp(lp_v.masked_fill(absent, 0.0), lq_v.masked_fill(absent, 0.0)) - math.log(2)
        means.append(lm_v.masked_fill(absent, -math.inf))
    return torch.stack(means, -1)


def pair_divergence(lp, lq, kind="symmetric"):
    if kind == "symmetric":
        return (kl(lp, lq) + kl(lq, lp)) / 2
    if kind == "forward":
        return kl(lp, lq)
    if kind == "reverse":
        return kl(lq, lp)
    if kind == "js":
        lm = log_mean(lp, lq)
        return (kl(lp, lm) + kl(lq, lm)) / 2
    if kind == "bhattacharyya":  # of the normalized distributions, as it is defined for them alone
        pairs = zip(log_softmax(lp).unbind(-1), log_softmax(lq).unbind(-1), strict=True)
        return -torch.log(sum(torch.exp((lp_v + lq_v) / 2) for lp_v, lq_v in pairs))
    raise ValueError(kind)


def divergence(lprobs, kind="symmetric"):
    """Mean over the pairs ``i < j`` of the M passes in ``lprobs [M, ..., V]``: ``[...]``."""
    passes = len(lprobs)
    if passes == 1:
        return torch.zeros(lprobs.shape[1:-1], dtype=torch.float64)
    pairs = [(i, j) for i in range(passes) for j in range(i + 1, passes)]
    return sum(pair_divergence(lprobs[i], lprobs[j], kind) for i, j in pairs) / len(pairs)


def of_words(lprobs, chosen):
    """Sum of the ``log p_v`` of ``lprobs [..., V]`` for which ``chosen(v)``, of one word, is true at a position."""
    return sum(lprob.where(chosen(v), 0.0) for v, lprob in enumerate(lprobs.unbind(-1)))


def nll(lprobs, target):
    """``-log p_target``."""
    return -of_words(lprobs, lambda v: target == v)


def label_smoothed_nll(lprobs, target, epsilon):
    """``-(1 - eps) log p_target - eps / (V - 1) sum_{v != target} log p_v`` (fairseq spreads eps over the others)."""
    others = of_words(lprobs, lambda v: target != v)
    return (1 - epsilon) * nll(lprobs, target) - epsilon / (lprobs.size(-1) - 1) * others


def adaptive_rdrop(clusters, alpha, kind="symmetric", padding_idx=1, weights=None):
    """R-Drop with adaptive softmax as published: the loss of the head and of the tails, each tail for the tokens whose
    target is in its cluster. ``clusters`` are (logits ``[M, n, S]``, target ``[n]``), the head first."""
    losses = [rdrop(*cluster, alpha, 0.0, kind, padding_idx, weights) for cluster in clusters]
    return RDrop(*map(sum, zip(*losses, strict=True)))


def adaptive_lprobs(head, tails):
    """``log p_v`` of all V words from the logits ``[..., H]`` of the head and ``[..., S]`` of every tail cluster.

    A tail's word has the probability of its cluster, which stands behind the head's words, times its own in the tail.
    """
    head = log_softmax(head)
    words = head.size(-1) - len(tails)
    of_tails = (head[..., words + c, None] + log_softmax(tail) for c, tail in enumerate(tails))
    return torch.cat([head[..., :words], *of_tails], -1)


def adaptive_kl(p_head, p_tails, q_head, q_tails):
    """``KL(P || Q)`` by the chain rule, ``KL(head) + sum_c P_head(c) KL(tail_c)``, from logits as above."""
    lp, lq = log_softmax(p_head), log_softmax(q_head)
    words = lp.size(-1) - len(p_tails)
    tails = (
        torch.exp(lp[..., words + c]) * kl(log_softmax(p), log_softmax(q))
        for c, (p, q) in enumerate(zip(p_tails, q_tails, strict=True))
    )
    return kl(lp, lq) + sum(tails)


def exact_adaptive_rdrop(head, tails, target, alpha, kind="symmetric", padding_idx=1, weights=None):
    """``adaptive_rdrop`` but for the divergence, which is that between the distributions over the whole vocabulary.

    From logits ``[M, N, H]`` of the head and ``[M, N, S]`` of every tail, and the target ``[N]``.
    """
    starts = [head.size(-1) - len(tails)]  # of the tail clusters in the vocabulary
    for tail in tails:
        starts.append(starts[-1] + tail.size(-1))
    clusters = [(head, target.clone())]
    for c, tail in enumerate(tails):
        inside = (target >= starts[c]) & (target < starts[c + 1])
        clusters[0][1][inside] = starts[0] + c
        clusters.append((tail[:, inside], target[inside] - starts[c]))
    of_cross_entropy = adaptive_rdrop(clusters, 0.0, kind, padding_idx, weights)
    kept = target.ne(padding_idx)
    lprobs = adaptive_lprobs(head[:, kept].double(), [tail[:, kept].double() for tail in tails])
    kl_loss = divergence(lprobs, kind).sum()
    return RDrop(of_cross_entropy.loss + alpha * kl_loss, of_cross_entropy.nll_loss, kl_loss)


def rdrop(logits, target, alpha, epsilon=0.0, kind="symmetric", padding_idx=1, weights=None):
    """R-Drop's training loss of ``logits [M, ..., V]`` for ``target [...]``; padding is left out.

    ``weights`` are those of the task's loss in the passes; without them each pass has weight 1.
    """
    kept = target.ne(padding_idx)
    target = target[kept]
    lprobs = log_softmax(logits[:, kept].double())
    kl_loss = divergence(lprobs, kind).sum()
    loss, nll_loss, weights = alpha * kl_loss, 0.0, weights or [1.0] * len(lprobs)
    for weight, one_pass in zip(weights, lprobs, strict=True):
        loss = loss + weight * label_smoothed_nll(one_pass, target, epsilon).sum()
        nll_loss = nll_loss + weight * nll(one_pass, target).sum() / sum(weights)
    return RDrop(loss, nll_loss, kl_loss)


def simcut(logits, target, alpha, epsilon=0.0, padding_idx=1):
    """SimCut's loss (Gao et al., 2022) of ``logits [2, ..., V]``, the second of them from the cut input."""
    kept = target.ne(padding_idx)
    lp, lq = log_softmax(logits[:, kept].double())
    return (label_smoothed_nll(lp, target[kept], epsilon) + alpha * kl(lp, lq)).sum()


def cutoff(logits, target, alpha, epsilon=0.0, padding_idx=1):
    """Cutoff's loss (Shen et al., 2020) of ``logits [2, ..., V]``, with m the softmax of the mean of the logits."""
    kept = target.ne(padding_idx)
    logits, target = logits[:, kept].double(), target[kept]
    (lp, lq), lm = log_softmax(logits), log_softmax((logits[0] + logits[1]) / 2)
    of_task = label_smoothed_nll(lp, target, epsilon) + label_smoothed_nll(lq, target, epsilon)
    return (of_task + alpha * (kl(lm, lp) + kl(lm, lq)) / 2).sum()
