"""What losses over tokens share: fused with the output projection or plain, prefix, accuracy and perplexity."""

import logging
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from fairseq import utils
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from torch import Tensor, nn

from rdrop_fairseq.compat.embeddings import NoEmbeddingError, check_embeddings, cut_embeddings, dictionaries_of
from rdrop_fairseq.compat.output_projection import NoOutputProjectionError, has_adaptive_softmax, output_projection
from rdrop_fairseq.criterions.rdrop_config import (
    LOSS_WAYS,
    RDropTokenConfig,
    check,
    check_task,
    cutoff_from,
    weights_from,
)
from rdrop_fairseq.criterions.rdrop_criterion import Plan, RDropCriterion, Terms
from rdrop_fairseq.criterions.rdrop_groups import Group, join_results, split_groups, split_labels, without_labels
from rdrop_fairseq.divergence import divergence
from rdrop_fairseq.fraction import draw_sentences, shares_of
from rdrop_fairseq.fused import RDropLoss, linear_rdrop_loss
from rdrop_fairseq.passes import take_sentences

logger = logging.getLogger(__name__)


@dataclass
class TokenPlan(Plan):
    """What is decided once for each model."""

    projection: Any  # the output layer that the fused loss applies itself; None for the plain loss


class RDropTokenCriterion(RDropCriterion):
    """R-Drop for a parent whose loss is a sum over target tokens; a subclass defines ``plain_loss``.

    The loss comes from the model's features, fused with the output projection, where the model allows it, and
    otherwise from its log-probabilities. ``nll_loss`` is logged as the mean over the passes, weighted by
    ``--rdrop-pass-weights``, so it compares with the parent's.
    """

    for_adaptive_softmax = False  # whether the criterion is for models with adaptive softmax, or for those without
    is_cross_entropy = False  # whether the loss is a (label-smoothed) cross-entropy, which `fused_loss` computes
    counted = "ntokens"
    eps, ignore_prefix_size, report_accuracy = 0.0, 0, False  # for parents without these settings

    def configure_rdrop(self, cfg: RDropTokenConfig, task: Any) -> None:
        """Also take the flags of losses over tokens; raise ``ValueError`` too if the targets are not the next word."""
        check_task(cfg, task)
        super().configure_rdrop(cfg, task)
        check(cfg.rdrop_loss in LOSS_WAYS, cfg, "rdrop_loss", f"one of {', '.join(LOSS_WAYS)}")
        self.loss_kind = cfg.rdrop_loss
        self.pass_weights = weights_from(cfg)
        check(0 < cfg.rdrop_fraction <= 1, cfg, "rdrop_fraction", "a number in (0, 1]")
        self.fraction = cfg.rdrop_fraction
        fits = self.fraction == 1 or not self.takes_unlabeled
        check(fits, cfg, "rdrop_fraction", "1 with --rdrop-unlabeled-alpha")
        self.cutoff = cutoff_from(cfg)
        self.dictionaries = {} if self.cutoff is None else dictionaries_of(task)

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """Do what ``RDropCriterion.forward`` does, and log the loss as ``nll_loss`` where the parent logs none."""
        loss, sample_size, log = super().forward(model, sample, reduce)
        return loss, sample_size, {"nll_loss": log["loss"], **log} if model.training else log

    def rdrop_terms(self, model: Any, sample: dict[str, Any], alpha: float, reduce: bool) -> Terms:
        """Return the loss of all passes, with ``alpha`` times the divergence, and the counts of one copy."""
        projection = self.plans[model].projection if reduce else None
        # A model with adaptive softmax returns its features anyway.
        features: dict[str, Any] = (
            {"features_only": True} if projection is not None and not self.for_adaptive_softmax else {}
        )
        ntokens, nsentences = self.count_tokens(sample), sample["target"].size(0)
        kl_count = ntokens
        indices: tuple[Tensor, Tensor] | None = None
        if self.fraction < 1:
            indices = draw_sentences(nsentences, self.fraction, sample["target"].device)
        elif self.takes_unlabeled:
            unlabeled = without_labels(sample)
            indices = (~unlabeled).nonzero().flatten(), unlabeled.nonzero().flatten()
        if indices is None:
            repeated, net_output = self.run_passes(model, sample, **features)
            groups = [Group(sample, repeated, net_output, self.pass_weights, alpha)]
        elif self.takes_unlabeled:
            _, net_output = self.run_passes(model, sample, **features)
            alphas = alpha, self.unlabeled_alpha_at(self.num_updates)
            groups = split_labels(sample, net_output, indices, self.pass_weights, alphas)
        else:
            later = take_sentences(sample, indices[0])
            kl_count = int(later["target"].ne(self.padding_idx).sum())
            _, net_output = self.run_passes(model, sample, later, **features)
            shares = shares_of(self.pass_weights, self.like_first(), alpha, len(indices[0]) / nsentences)
            groups = split_groups(sample, net_output, indices, self.passes, shares)
        results = [
            self.plain_loss(model, group, reduce) if projection is None else self.fused_loss(model, projection, group)
            for group in groups
        ]
        result = join_results(results, indices or (), reduce)
        total = sum(self.pass_weights)
        log: dict[str, Any] = {"nll_loss": result.nll_loss.data / total, "ntokens": ntokens, "nsentences": nsentences}
        if self.report_accuracy:
            counted = self.counted_target(model, net_output, self.labeled_only(sample)).ne(self.padding_idx)
            log["n_correct"] = utils.item(result.n_correct.data) / total
            log["total"] = utils.item(counted.sum())
        if self.takes_unlabeled:
            without = [
                one.kl_loss.data.sum() for one, group in zip(results, groups, strict=True) if not group.is_labeled
            ]
            # Always a tensor: where the logs of several processes differ in kind, fairseq mixes up their sums.
            log["unlabeled_kl_loss"] = sum(without, result.kl_loss.data.new_zeros(()))
        return Terms(result.loss, result.kl_loss, kl_count, nsentences if self.sentence_avg else ntokens, log)

    def labeled_only(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Return the sample with padding as the target where there is no label."""
        if not self.takes_unlabeled:
            return sample
        target = sample["target"].masked_fill(without_labels(sample).unsqueeze(-1), self.padding_idx)
        return {**sample, "target": target}

    def count_labeled(self, sample: dict[str, Any]) -> Tensor:
        """Return the number of tokens of the sentences that have a label."""
        return self.labeled_only(sample)["target"].ne(self.padding_idx).sum()

    def like_first(self) -> list[bool]:
        """Return for each pass whether it is like the first: of the same dropout rate, and cut or not as that is."""
        cut = self.cutoff.passes if self.cutoff is not None else ()
        rates = self.dropouts or [0.0] * self.passes
        return [(number in cut) == (0 in cut) and rate == rates[0] for number, rate in enumerate(rates)]

    def within(self, model: Any, rows: Sequence[int], passes: Sequence[int]) -> AbstractContextManager[None]:
        """Return the context of a forward that holds the given passes, in which those to be cut are cut."""
        if self.cutoff is None:
            return nullcontext()
        parts, start = [], 0
        for number in passes:
            if number in self.cutoff.passes:
                parts.append(slice(start, start + rows[number]))
            start += rows[number]
        if not parts:
            return nullcontext()
        return cut_embeddings(model, self.cutoff, self.dictionaries, parts, self.ignore_prefix_size)

    def passes_differ(self, model: Any) -> bool:
        """Return whether a cut or anything else that is known makes the passes differ."""
        return self.cutoff is not None or super().passes_differ(model)

    def check_model(self, model: Any) -> None:
        """Exit with one line if the criterion, or a flag, is not for the model.

        The output layer must be an adaptive softmax or a plain one, as the criterion says; a cutoff needs embeddings of
        tokens; and a part of the sentences, whose padding stays, is nothing for a recurrent encoder.
        """
        if self.cutoff is not None:
            try:
                check_embeddings(model, self.cutoff)
            except NoEmbeddingError as error:
                sys.exit(
                    f"error: --rdrop-cutoff {self.cutoff.probability} --rdrop-cutoff-side {self.cutoff.side}: {error}"
                )
        if self.fraction < 1 and any(isinstance(module, nn.RNNBase) for module in model.modules()):
            sys.exit(f"error: --rdrop-fraction {self.fraction}: must be 1 for a recurrent model")
        adaptive = has_adaptive_softmax(model)
        if adaptive == self.for_adaptive_softmax:
            return
        has, use = (
            ("adaptive softmax", "rdrop_adaptive_loss")
            if adaptive
            else ("no adaptive softmax", "rdrop_cross_entropy or rdrop_label_smoothed_cross_entropy")
        )
        has += " (--adaptive-softmax-cutoff)"
        if not adaptive and not self.has_rdrop_task:
            has += ", which lstm, lstm_lm and fconv_lm build with an R-Drop task alone"
        sys.exit(f"error: --criterion {self.name}: the model has {has}; must be {use}")

    def count_tokens(self, sample: dict[str, Any]) -> int:
        """Return the number of tokens by which the parent divides the loss of one copy of the batch."""
        return int(sample["ntokens"])

    def plan(self, model: Any) -> TokenPlan:
        """Also choose the fused or the plain loss, and say in the log which one is in use, and why.

        Exit with one line if ``--rdrop-loss fused`` is not possible.
        """
        separate = super().plan(model).separate
        projection, reason = None, "--rdrop-loss plain"
        if self.loss_kind != "plain":
            try:
                projection = self.find_projection(model)
            except NoOutputProjectionError as error:
                reason = str(error)
        if projection is None and self.loss_kind == "fused":
            sys.exit(f"error: --rdrop-loss fused: not possible here ({reason}); must be auto or plain")
        logger.info(
            "R-Drop loss: %s; nll_loss and ppl are means over the passes and compare with a baseline's",
            f"plain ({reason})" if projection is None else "fused with the output projection",
        )
        return TokenPlan(separate, projection)

    def find_projection(self, model: Any) -> Any:
        """Return the output layer of the model that ``fused_loss`` applies itself.

        Raises:
            NoOutputProjectionError: if the model must apply its output layer itself, or if the loss has no fused form.
        """
        if not self.is_cross_entropy:
            raise NoOutputProjectionError("this loss has no fused form")
        return output_projection(model)

    def fused_loss(self, model: Any, projection: Any, group: Group) -> RDropLoss:
        """Return the loss from the features of all passes, for a parent that is a (label-smoothed) cross-entropy."""
        return linear_rdrop_loss(
            group.net_output[0][:, self.ignore_prefix_size :],  # [M * B, T, D]
            projection.weight,
            self.counted_target(model, group.net_output, group.sample),
            group.alpha,
            bias=projection.bias,
            passes=group.passes,
            pass_weights=group.weights,
            divergence=self.divergence,
            label_smoothing=self.eps,
            label_smoothing_impl="fairseq",
            ignore_index=self.padding_idx,
            reduction="sum",
            count_correct=self.report_accuracy,
            check=False,  # fairseq's trainer looks for NaN itself
        )

    def plain_loss(self, model: Any, group: Group, reduce: bool = True) -> RDropLoss:
        """Return the loss from the model's log-probabilities, summed over all positions.

        Without ``reduce``, return a value for each of the N positions of one copy, in the parent's shape.
        """
        raise NotImplementedError

    def add_divergence(
        self, loss: Tensor, nll_loss: Tensor, lprobs: Tensor, target: Tensor, group: Group, reduce: bool
    ) -> RDropLoss:
        """Return the parent's loss, weighted by pass, plus alpha times the divergence.

        Args:
            loss: the parent's loss of all passes: of each position, ``[M * N, ...]``; or its sum, if every pass has the
                weight 1 (``group.is_even``).
            nll_loss: the negative log-likelihood, in the same shape.
            lprobs: log-probabilities of all passes, ``[M * N, V]``.
            target: the targets of all passes, ``[M * N]``.
            group: the passes.
            reduce: whether to return sums over the N positions of one copy.
        """
        lprobs = lprobs.unflatten(0, (group.passes, -1))
        kl_loss = self.token_divergence(lprobs, target[: lprobs.size(1)])
        if loss.dim():
            loss, nll_loss = (group.weighted(each.unflatten(0, lprobs.shape[:2])) for each in (loss, nll_loss))
            kl_loss = kl_loss.view_as(loss)
        if reduce:
            loss, nll_loss, kl_loss = loss.sum(), nll_loss.sum(), kl_loss.sum()
        return RDropLoss(loss + group.alpha * kl_loss, nll_loss, kl_loss, target.new_zeros(()))

    def without_ignored(self, model: Any, group: Group) -> Any:
        """Return the output of the model with logits 0 at padding and at the ignored prefix.

        So whatever the model gave there, even infinity or no number, reaches neither the loss nor a gradient (0 times
        infinity is not 0). Where the model joins or cuts positions afterwards, its output is left as it is.
        """
        net_output = group.net_output
        logits, rest = (net_output, ()) if isinstance(net_output, Tensor) else (net_output[0], net_output[1:])
        target = model.get_targets(group.repeated, net_output)
        if logits.shape[:-1] != target.shape:
            return net_output
        ignored = target.eq(self.padding_idx)
        ignored[:, : self.ignore_prefix_size] = True
        logits = logits.masked_fill(ignored.unsqueeze(-1), 0)
        return logits if isinstance(net_output, Tensor) else (logits, *rest)

    def token_divergence(self, lprobs: Tensor, target: Tensor) -> Tensor:
        """Return the divergence ``[N]`` of the passes in ``lprobs [M, N, V]``.

        It is 0 where the target is padding, and everywhere if there is one pass.
        """
        if len(lprobs) == 1:
            return lprobs.new_zeros(len(target))
        return divergence(lprobs, self.divergence, check=False).masked_fill(target.eq(self.padding_idx), 0)

    def counted_target(self, model: Any, net_output: Any, sample: dict[str, Any]) -> Tensor:
        """Return the target ``[B, T]`` without the prefix that the parent leaves out."""
        return model.get_targets(sample, net_output)[:, self.ignore_prefix_size :]

    @classmethod
    def reduce_training_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Take the perplexity from ``nll_loss``: other parents take it from the loss, which holds the divergence."""
        LabelSmoothedCrossEntropyCriterion.reduce_metrics(logging_outputs)
