"""What losses over tokens share: fused with the output projection or plain, prefix, accuracy and perplexity."""

import logging
import sys
from dataclasses import dataclass
from typing import Any

from fairseq import utils
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.tasks import TASK_REGISTRY
from torch import Tensor

from rdrop_fairseq.compat.output_projection import NoOutputProjectionError, has_adaptive_softmax, output_projection
from rdrop_fairseq.criterions.rdrop_config import LOSSES, RDropTokenConfig, check
from rdrop_fairseq.criterions.rdrop_criterion import Plan, RDropCriterion, Terms
from rdrop_fairseq.divergence import divergence
from rdrop_fairseq.fused import RDropLoss, linear_rdrop_loss

# Tasks of fairseq whose targets are not the next word, and what they are. The tasks derived from one have the same.
NOT_FOR_TASKS = {
    "masked_lm": "masked words",
    "multilingual_masked_lm": "masked words",
    "legacy_masked_lm": "masked words",
    "cross_lingual_lm": "masked words",
    "dummy_masked_lm": "masked words",
    "sentence_prediction": "a class or a number for each sentence",
    "sentence_ranking": "the place of the right sentence",
    "audio_classification": "a class for each sound",
    "audio_pretraining": "masked frames",
    "hubert_pretraining": "units of masked frames",
    "translation_lev": "insertions and deletions",
}

logger = logging.getLogger(__name__)


@dataclass
class TokenPlan(Plan):
    """What is decided once for each model."""

    projection: Any  # the output layer that the fused loss applies itself; None for the plain loss


class RDropTokenCriterion(RDropCriterion):
    """R-Drop for a parent whose loss is a sum over target tokens; a subclass defines ``plain_loss``.

    The loss comes from the model's features, fused with the output projection, where the model allows it, and
    otherwise from its log-probabilities. ``nll_loss`` is logged as the mean over the passes, so it compares with the
    parent's.
    """

    for_adaptive_softmax = False  # whether the criterion is for models with adaptive softmax, or for those without
    is_cross_entropy = False  # whether the loss is a (label-smoothed) cross-entropy, which `fused_loss` computes
    eps, ignore_prefix_size, report_accuracy = 0.0, 0, False  # for parents without these settings

    def configure_rdrop(self, cfg: RDropTokenConfig, task: Any) -> None:
        """Also take ``--rdrop-loss``; raise ``ValueError`` too if the task's targets are not the next word."""
        for name, targets in NOT_FOR_TASKS.items():
            if isinstance(task, TASK_REGISTRY.get(name, ())):
                raise ValueError(
                    f"--task {name}: its targets are {targets}; --criterion {cfg._name} is for tasks that predict the "
                    "next word"
                )
        super().configure_rdrop(cfg, task)
        check(cfg.rdrop_loss in LOSSES, cfg, "rdrop_loss", f"one of {', '.join(LOSSES)}")
        self.loss_kind = cfg.rdrop_loss

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """Do what ``RDropCriterion.forward`` does, and log the loss as ``nll_loss`` where the parent logs none."""
        loss, sample_size, log = super().forward(model, sample, reduce)
        return loss, sample_size, {"nll_loss": log["loss"], **log} if model.training else log

    def rdrop_terms(self, model: Any, sample: dict[str, Any], alpha: float, reduce: bool) -> Terms:
        """Return the loss of all passes, with ``alpha`` times the divergence, and the counts of one copy."""
        projection = self.plans[model].projection if reduce else None
        # A model with adaptive softmax returns its features anyway.
        features = {"features_only": True} if projection is not None and not self.for_adaptive_softmax else {}
        repeated, net_output = self.run_passes(model, sample, **features)
        if projection is not None:
            result = self.fused_loss(model, projection, net_output, sample, alpha)
        else:
            result = self.plain_loss(model, net_output, repeated, alpha, reduce)
        ntokens, nsentences = self.count_tokens(sample), sample["target"].size(0)
        log = {"nll_loss": result.nll_loss.data / self.passes, "ntokens": ntokens, "nsentences": nsentences}
        if self.report_accuracy:
            counted = self.counted_target(model, net_output, sample).ne(self.padding_idx)
            log["n_correct"] = utils.item(result.n_correct.data) / self.passes
            log["total"] = utils.item(counted.sum())
        return Terms(result.loss, result.kl_loss, ntokens, nsentences if self.sentence_avg else ntokens, log)

    def check_model(self, model: Any) -> None:
        """Exit with one line if the criterion is not for the model's output layer: adaptive softmax or a plain one."""
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

    def fused_loss(
        self, model: Any, projection: Any, net_output: Any, sample: dict[str, Any], alpha: float
    ) -> RDropLoss:
        """Return the loss from the features of all passes, for a parent that is a (label-smoothed) cross-entropy."""
        return linear_rdrop_loss(
            net_output[0][:, self.ignore_prefix_size :],  # [M * B, T, D]
            projection.weight,
            self.counted_target(model, net_output, sample),
            alpha,
            bias=projection.bias,
            passes=self.passes,
            divergence=self.divergence,
            label_smoothing=self.eps,
            label_smoothing_impl="fairseq",
            ignore_index=self.padding_idx,
            reduction="sum",
            count_correct=self.report_accuracy,
            check=False,  # fairseq's trainer looks for NaN itself
        )

    def plain_loss(
        self, model: Any, net_output: Any, repeated: dict[str, Any], alpha: float, reduce: bool = True
    ) -> RDropLoss:
        """Return the loss from the model's log-probabilities, summed over all positions.

        Without ``reduce``, return a value for each of the N positions of one copy, in the parent's shape.
        """
        raise NotImplementedError

    def add_divergence(self, loss: Tensor, nll_loss: Tensor, lprobs: Tensor, target: Tensor, alpha: float) -> RDropLoss:
        """Return the parent's loss plus alpha times the divergence.

        Args:
            loss: the parent's loss of all passes: a sum, or ``[M * N, ...]``, for a loss of each of N positions.
            nll_loss: the negative log-likelihood, in the same shape.
            lprobs: log-probabilities of all passes, ``[M * N, V]``.
            target: the targets of all passes, ``[M * N]``.
            alpha: weight of the divergence.
        """
        lprobs = lprobs.unflatten(0, (self.passes, -1))
        kl_loss = self.token_divergence(lprobs, target[: lprobs.size(1)])
        if loss.dim():
            loss, nll_loss = (each.unflatten(0, lprobs.shape[:2]).sum(0) for each in (loss, nll_loss))
            kl_loss = kl_loss.view_as(loss)
        else:
            kl_loss = kl_loss.sum()
        return RDropLoss(loss + alpha * kl_loss, nll_loss, kl_loss, target.new_zeros(()))

    def without_ignored(self, model: Any, net_output: Any, repeated: dict[str, Any]) -> Any:
        """Return the output of the model with logits 0 at padding and at the ignored prefix.

        So whatever the model gave there, even infinity or no number, reaches neither the loss nor a gradient (0 times
        infinity is not 0). Where the model joins or cuts positions afterwards, its output is left as it is.
        """
        logits, rest = (net_output, ()) if isinstance(net_output, Tensor) else (net_output[0], net_output[1:])
        target = model.get_targets(repeated, net_output)
        if logits.shape[:-1] != target.shape:
            return net_output
        ignored = target.eq(self.padding_idx)
        ignored[:, : self.ignore_prefix_size] = True
        logits = logits.masked_fill(ignored.unsqueeze(-1), 0)
        return logits if isinstance(net_output, Tensor) else (logits, *rest)

    def token_divergence(self, lprobs: Tensor, target: Tensor) -> Tensor:
        """Return the divergence ``[N]`` of the passes in ``lprobs [M, N, V]``; it is 0 where the target is padding."""
        return divergence(lprobs, self.divergence, check=False).masked_fill(target.eq(self.padding_idx), 0)

    def counted_target(self, model: Any, net_output: Any, sample: dict[str, Any]) -> Tensor:
        """Return the target ``[B, T]`` without the prefix that the parent leaves out."""
        return model.get_targets(sample, net_output)[:, self.ignore_prefix_size :]

    @classmethod
    def reduce_training_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Take the perplexity from ``nll_loss``: other parents take it from the loss, which holds the divergence."""
        LabelSmoothedCrossEntropyCriterion.reduce_metrics(logging_outputs)
