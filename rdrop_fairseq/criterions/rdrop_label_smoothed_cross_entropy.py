"""R-Drop for fairseq's label-smoothed cross-entropy: translation and summarization."""

from dataclasses import dataclass
from typing import Any

from fairseq import utils
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
    label_smoothed_nll_loss,
)
from torch import Tensor

from rdrop_fairseq.criterions.rdrop_criterion import RDropConfig, RDropCriterion
from rdrop_fairseq.divergence import divergence


@dataclass
class RDropLabelSmoothedCrossEntropyCriterionConfig(LabelSmoothedCrossEntropyCriterionConfig, RDropConfig):
    """The parent's flags and R-Drop's."""


@register_criterion("rdrop_label_smoothed_cross_entropy", dataclass=RDropLabelSmoothedCrossEntropyCriterionConfig)
class RDropLabelSmoothedCrossEntropyCriterion(RDropCriterion, LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy of all passes plus the divergence between them (Liang et al., 2021, eq. 4).

    The smoothing is the parent's: epsilon is spread over the V - 1 other words.
    """

    def compute_rdrop_loss(
        self, model: Any, net_output: Any, repeated: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        lprobs, target = self.get_lprobs_and_target(model, net_output, repeated)
        loss, nll_loss = label_smoothed_nll_loss(lprobs, target, self.eps, self.padding_idx, reduce)
        kl_loss = divergence(lprobs.view(self.passes, -1, lprobs.size(-1)), self.divergence)
        kl_loss = kl_loss.masked_fill(target[: kl_loss.numel()].eq(self.padding_idx), 0)
        if reduce:
            return loss, nll_loss, kl_loss.sum()
        return loss.view(self.passes, -1, 1).sum(0), nll_loss.view(self.passes, -1, 1).sum(0), kl_loss.unsqueeze(-1)

    def log_accuracy(self, logging_output: dict[str, Any], model: Any, net_output: Any, repeated: dict) -> None:
        if self.report_accuracy:
            n_correct, total = self.compute_accuracy(model, net_output, repeated)
            logging_output["n_correct"] = utils.item(n_correct.data) / self.passes
            logging_output["total"] = utils.item(total.data) / self.passes
