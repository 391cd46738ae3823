"""R-Drop for fairseq's adaptive_loss: language modeling with adaptive softmax (Grave et al., 2017).

The head gives a probability to each word of the first cluster and to each tail cluster; a tail gives one to each word
of its cluster. So a word of cluster c has the probability ``P_head(c) P_tail_c(word)``, and by the chain rule

    KL(P || Q) = KL(P_head || Q_head) + sum_c P_head(c) KL(P_tail_c || Q_tail_c)

which needs every tail for every token. The published code keeps only one term of the sum, the tail of the target's
cluster, with weight 1. That is an approximation, but it needs no other tail than the loss itself.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.criterions import register_criterion
from fairseq.criterions.adaptive_loss import AdaptiveLoss, AdaptiveLossConfig
from fairseq.modules.adaptive_softmax import AdaptiveSoftmax
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rdrop_fairseq.compat.output_projection import NoOutputProjectionError, cluster_weights
from rdrop_fairseq.criterions.rdrop_config import RDropTokenConfig, alpha_field, check
from rdrop_fairseq.criterions.rdrop_groups import Group
from rdrop_fairseq.criterions.rdrop_token_criterion import RDropTokenCriterion
from rdrop_fairseq.divergence import accumulation_dtype
from rdrop_fairseq.fused import RDropLoss, linear_rdrop_loss
from rdrop_fairseq.passes import in_turn

ADAPTIVE_DIVERGENCES = ("published", "exact")

# Log-probabilities of the exact divergence that exist at once: 512 MB in float32, and a few times that in backward.
_CHUNK = 1 << 27


@dataclass
class RDropAdaptiveLossConfig(AdaptiveLossConfig, RDropTokenConfig):
    """The parent's flags, R-Drop's, and which clusters count in the divergence."""

    rdrop_alpha: float = alpha_field(0.5, "language models with adaptive softmax")
    rdrop_adaptive_divergence: str = field(
        default="published",
        metadata={
            "help": "published = divergence of the head and, with weight 1, of the tail cluster of the target, which "
            "approximates exact; exact = divergence of the distributions over the whole vocabulary, which needs every "
            "tail for every token and is never fused"
        },
    )


@register_criterion("rdrop_adaptive_loss", dataclass=RDropAdaptiveLossConfig)
class RDropAdaptiveLoss(RDropTokenCriterion, AdaptiveLoss):
    """Adaptive loss of all passes plus the divergence between them (Liang et al., 2021, eq. 4).

    The dropout of the adaptive softmax differs between the passes, as all dropout does. The parent looks for padding in
    the tails too: it leaves out a tail's loss for the one word whose place in its cluster is that of padding in the
    vocabulary. So does this criterion, and with ``published`` it also leaves out that tail's divergence.
    """

    for_adaptive_softmax = True

    @classmethod
    def build_criterion(cls, cfg: Any, task: Any) -> RDropTokenCriterion:
        """Do what every R-Drop criterion does, and exit with one line too if the parent refuses a DDP back end."""
        try:
            return super().build_criterion(cfg, task)
        except Exception as error:
            if type(error) is not Exception:  # the parent raises a plain Exception
                raise
            sys.exit(f"error: --ddp-backend {cfg.ddp_backend}: {error}")

    def configure_rdrop(self, cfg: Any, task: Any) -> None:
        """Also take ``--rdrop-adaptive-divergence``."""
        super().configure_rdrop(cfg, task)
        allowed = f"one of {', '.join(ADAPTIVE_DIVERGENCES)}"
        check(cfg.rdrop_adaptive_divergence in ADAPTIVE_DIVERGENCES, cfg, "rdrop_adaptive_divergence", allowed)
        self.exact = cfg.rdrop_adaptive_divergence == "exact"
        possible = not (self.exact and self.loss_kind == "fused")
        check(possible, cfg, "rdrop_loss", "auto or plain with --rdrop-adaptive-divergence exact")

    def count_tokens(self, sample: dict[str, Any]) -> int:
        """Return the number of targets that are no padding."""
        return int(sample["target"].ne(self.padding_idx).sum())

    def find_projection(self, model: Any) -> AdaptiveSoftmax:
        """Return the adaptive softmax; raise ``NoOutputProjectionError`` if the fused loss cannot apply it."""
        if self.exact:
            raise NoOutputProjectionError("--rdrop-adaptive-divergence exact")
        softmax = model.decoder.adaptive_softmax
        cluster_weights(softmax)  # raises if it cannot
        return softmax

    def fused_loss(self, model: Any, projection: AdaptiveSoftmax, group: Group) -> RDropLoss:
        """Return the fused loss of the head, plus that of each tail for the tokens whose target is in its cluster."""
        targets, rows = projection.adapt_target(model.get_targets(group.sample, group.net_output))

        def inputs(states: Tensor) -> list[Tensor | None]:
            states = projection.dropout_module(states)
            tails = zip(projection.tail, rows, strict=True)
            return [states, *(None if at is None else tail[:-1](states.index_select(0, at)) for tail, at in tails)]

        hidden = self.in_each_pass(model, inputs, states_of(group))
        options: dict[str, Any] = {"passes": group.passes, "divergence": self.divergence, "reduction": "sum"}
        options |= {"pass_weights": group.weights}
        options |= {"ignore_index": self.padding_idx, "check": False}  # fairseq's trainer looks for NaN itself
        losses = [
            linear_rdrop_loss(each.flatten(0, 1), weight, words, group.alpha, **options)
            for each, weight, words in zip(hidden, cluster_weights(projection), targets, strict=True)
            if words is not None
        ]
        return RDropLoss(*(torch.stack(each).sum() for each in zip(*losses, strict=True)))

    def plain_loss(self, model: Any, group: Group, reduce: bool = True) -> RDropLoss:
        """Return the loss from the features; ``exact`` works chunk by chunk."""
        states = states_of(group)
        target = model.get_targets(group.repeated, group.net_output).flatten()[: states.size(1)]
        # Whatever the model gave at padding, even infinity or no number, must reach no gradient: 0 times it is not 0.
        states = states.masked_fill(target.eq(self.padding_idx).unsqueeze(-1), 0)
        if self.exact:  # chunk by chunk; backward computes the log-probabilities of a chunk a second time
            size = max(1, _CHUNK // (group.passes * model.decoder.adaptive_softmax.vocab_size))
            chunks = zip(states.split(size, 1), target.split(size), strict=True)
            losses = [checkpoint(self.token_losses, model, group, *chunk, use_reentrant=False) for chunk in chunks]
        else:
            losses = [self.token_losses(model, group, states, target)]
        nll_loss, kl_loss = (torch.cat(each) for each in zip(*losses, strict=True))
        if reduce:
            nll_loss, kl_loss = nll_loss.sum(), kl_loss.sum()
        return RDropLoss(nll_loss + group.alpha * kl_loss, nll_loss, kl_loss, target.new_zeros(()))

    def token_losses(self, model: Any, group: Group, states: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return nll_loss, the weighted sum over the passes, and divergence of each token.

        The states are ``[M, N, D]``, the target and both results ``[N]``.
        """
        softmax = model.decoder.adaptive_softmax
        targets, rows = softmax.adapt_target(target)
        if self.exact:
            logits = self.in_each_pass(model, partial(all_logits, softmax), states)
        else:
            logits = self.in_each_pass(model, lambda one_pass: softmax(one_pass, target)[0], states)
        lprobs: list[Any] = [
            None if each is None else each.to(accumulation_dtype(each)).log_softmax(-1) for each in logits
        ]
        nll_loss = kl_loss = lprobs[0].new_zeros(len(target))
        everywhere = torch.arange(len(target), device=target.device)
        for cluster, words, at in zip(lprobs, targets, [everywhere, *rows], strict=True):
            if words is None:
                continue
            seen = cluster[:, at] if self.exact else cluster
            nll = F.nll_loss(
                seen.flatten(0, 1), words.repeat(group.passes), ignore_index=self.padding_idx, reduction="none"
            )
            nll_loss = nll_loss.index_add(0, at, group.weighted(nll.view(group.passes, -1)))
            if not self.exact:
                kl_loss = kl_loss.index_add(0, at, self.token_divergence(seen, words))
        if self.exact:
            kl_loss = self.token_divergence(all_lprobs(softmax, lprobs), target)
        return nll_loss, kl_loss

    def in_each_pass(self, model: Any, function: Callable[[Tensor], list[Any]], states: Tensor) -> list[Any]:
        """Call the function on the states of each pass, at its dropout rate, and stack the results of the passes.

        The function returns a list of tensors; so does this method, with the passes as the first dimension of each.
        """
        dropouts = self.dropouts and self.dropouts[: len(states)]
        lists = in_turn(model, dropouts, [partial(function, one_pass) for one_pass in states])
        return [None if each[0] is None else torch.stack(each) for each in zip(*lists, strict=True)]


def states_of(group: Group) -> Tensor:
    """Return the features of all passes as ``[M, N, D]``."""
    return group.net_output[0].flatten(0, 1).unflatten(0, (group.passes, -1))


def all_logits(softmax: AdaptiveSoftmax, states: Tensor) -> list[Tensor]:
    """Return the logits of the head and of every tail for states ``[N, D]``."""
    states = softmax.dropout_module(states)
    return [softmax.head(states), *(tail(states) for tail in softmax.tail)]


def all_lprobs(softmax: AdaptiveSoftmax, lprobs: list[Tensor]) -> Tensor:
    """Return the log-probabilities ``[..., V]`` of all words from those of the head and of every tail.

    fairseq's ``get_log_prob`` gives the same, but cannot be differentiated.
    """
    head, *tails = lprobs
    words = softmax.cutoff[0]
    return torch.cat([head[..., :words], *(head[..., words + i, None] + tail for i, tail in enumerate(tails))], -1)
