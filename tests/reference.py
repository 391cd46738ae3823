"""R-Drop as loops, from the equations of the paper (Liang et al., 2021), in float64: what the package must equal.

Slow and plain on purpose. Every number is a 0-dim tensor, so autograd gives the gradient of each equation too.
"""

import math
from typing import NamedTuple

import torch


class RDrop(NamedTuple):
    loss: torch.Tensor  # sum over the passes + alpha * kl_loss (eq. 4), summed over the positions
    nll_loss: torch.Tensor  # weighted mean over the passes, summed over the positions
    kl_loss: torch.Tensor  # mean over the pairs of passes (eq. 2), summed over the positions


def log_softmax(logits):
    """``log p_v = x_v - log sum_u exp(x_u)`` of ``logits [V]``, shifted by the largest so that nothing overflows."""
    largest = logits.detach().max()
    total = sum(torch.exp(x - largest) for x in logits.unbind())
    return torch.stack([x - largest - torch.log(total) for x in logits.unbind()])


def kl(lp, lq):
    """``KL(p || q) = sum_v p_v (log p_v - log q_v)``, where a word with ``p_v = 0`` counts 0 (0 log 0 = 0)."""
    total = torch.zeros((), dtype=lp.dtype)
    for lp_v, lq_v in zip(lp.unbind(), lq.unbind(), strict=True):
        if lp_v > -math.inf:
            total = total + torch.exp(lp_v) * (lp_v - lq_v)
    return total


def log_mean(lp, lq):
    """``log m_v`` with ``m_v = (p_v + q_v) / 2``."""
    return torch.stack([torch.logaddexp(a, b) - math.log(2) for a, b in zip(lp.unbind(), lq.unbind(), strict=True)])


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
        pairs = zip(log_softmax(lp).unbind(), log_softmax(lq).unbind(), strict=True)
        return -torch.log(sum(torch.exp((lp_v + lq_v) / 2) for lp_v, lq_v in pairs))
    raise ValueError(kind)


def divergence(lprobs, kind="symmetric"):
    """Mean over the pairs ``i < j`` of the M passes in ``lprobs [M, V]``."""
    passes = len(lprobs)
    if passes == 1:
        return torch.zeros((), dtype=torch.float64)
    pairs = [(i, j) for i in range(passes) for j in range(i + 1, passes)]
    return sum(pair_divergence(lprobs[i], lprobs[j], kind) for i, j in pairs) / len(pairs)


def divergences(lprobs, kind="symmetric"):
    """``divergence`` at every position of ``lprobs [M, ..., V]``: ``[...]``."""
    positions = lprobs.flatten(1, -2).unbind(1) if lprobs.dim() > 2 else [lprobs]
    return torch.stack([divergence(position, kind) for position in positions]).view(lprobs.shape[1:-1])


def label_smoothed_nll(lprobs, target, epsilon):
    """``-(1 - eps) log p_target - eps / (V - 1) sum_{v != target} log p_v`` (fairseq spreads eps over the others)."""
    others = [lprob for v, lprob in enumerate(lprobs.unbind()) if v != target]
    return -(1 - epsilon) * lprobs[target] - epsilon * sum(others) / len(others)


def adaptive_rdrop(clusters, alpha, kind="symmetric", padding_idx=1, weights=None):
    """R-Drop with adaptive softmax as published: the loss of the head and of the tails, each tail for the tokens whose
    target is in its cluster. ``clusters`` are (logits ``[M, n, S]``, target ``[n]``), the head first."""
    losses = [rdrop(*cluster, alpha, 0.0, kind, padding_idx, weights) for cluster in clusters]
    return RDrop(*map(sum, zip(*losses, strict=True)))


def adaptive_lprobs(head, tails):
    """``log p_v`` of all V words from the logits ``[H]`` of the head and ``[S]`` of every tail cluster.

    A tail's word has the probability of its cluster, which stands behind the head's words, times its own in the tail.
    """
    head = log_softmax(head)
    words = len(head) - len(tails)
    return torch.cat([head[:words], *(head[words + c] + log_softmax(tail) for c, tail in enumerate(tails))])


def adaptive_kl(p_head, p_tails, q_head, q_tails):
    """``KL(P || Q)`` by the chain rule, ``KL(head) + sum_c P_head(c) KL(tail_c)``, from logits as above."""
    lp, lq = log_softmax(p_head), log_softmax(q_head)
    words = len(lp) - len(p_tails)
    tails = (
        torch.exp(lp[words + c]) * kl(log_softmax(p), log_softmax(q))
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
    kl_loss = torch.zeros((), dtype=torch.float64)
    for n in target.ne(padding_idx).nonzero().flatten().tolist():
        logits = [(head[m, n].double(), [tail[m, n].double() for tail in tails]) for m in range(len(head))]
        kl_loss = kl_loss + divergence(torch.stack([adaptive_lprobs(*one_pass) for one_pass in logits]), kind)
    return RDrop(of_cross_entropy.loss + alpha * kl_loss, of_cross_entropy.nll_loss, kl_loss)


def rdrop(logits, target, alpha, epsilon=0.0, kind="symmetric", padding_idx=1, weights=None):
    """R-Drop's training loss of ``logits [M, ..., V]`` for ``target [...]``; padding is left out.

    ``weights`` are those of the task's loss in the passes; without them each pass has weight 1.
    """
    logits = logits.flatten(1, -2).unbind(1)
    loss = nll_loss = kl_loss = torch.zeros((), dtype=torch.float64)
    for position, word in zip(logits, target.flatten().tolist(), strict=True):
        if word == padding_idx:
            continue
        lprobs = [log_softmax(one_pass.double()) for one_pass in position]
        weighted = list(zip(weights or [1.0] * len(lprobs), lprobs, strict=True))
        loss = loss + sum(weight * label_smoothed_nll(one_pass, word, epsilon) for weight, one_pass in weighted)
        nll_loss = nll_loss - sum(w * one_pass[word] for w, one_pass in weighted) / sum(w for w, _ in weighted)
        kl_loss = kl_loss + divergence(lprobs, kind)
    return RDrop(loss + alpha * kl_loss, nll_loss, kl_loss)


def simcut(logits, target, alpha, epsilon=0.0, padding_idx=1):
    """SimCut's loss (Gao et al., 2022) of ``logits [2, ..., V]``, the second of them from the cut input."""
    loss = torch.zeros((), dtype=torch.float64)
    for first, second, word in zip(*logits.flatten(1, -2), target.flatten().tolist(), strict=True):
        if word != padding_idx:
            lp, lq = log_softmax(first.double()), log_softmax(second.double())
            loss = loss + label_smoothed_nll(lp, word, epsilon) + alpha * kl(lp, lq)
    return loss


def cutoff(logits, target, alpha, epsilon=0.0, padding_idx=1):
    """Cutoff's loss (Shen et al., 2020) of ``logits [2, ..., V]``, with m the softmax of the mean of the logits."""
    loss = torch.zeros((), dtype=torch.float64)
    for first, second, word in zip(*logits.flatten(1, -2), target.flatten().tolist(), strict=True):
        if word != padding_idx:
            lp, lq = log_softmax(first.double()), log_softmax(second.double())
            lm = log_softmax((first.double() + second.double()) / 2)
            loss = loss + label_smoothed_nll(lp, word, epsilon) + label_smoothed_nll(lq, word, epsilon)
            loss = loss + alpha * (kl(lm, lp) + kl(lm, lq)) / 2
    return loss
