"""R-Drop for fairseq's label-smoothed cross-entropy: translation and summarization."""

from dataclasses import dataclass
from typing import Any

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
    label_smoothed_nll_loss,
)

from rdrop_fairseq.criterions.rdrop_config import RDropTokenConfig
from rdrop_fairseq.criterions.rdrop_token_criterion import RDropTokenCriterion
from rdrop_fairseq.fused import RDropLoss


@dataclass
class RDropLabelSmoothedCrossEntropyCriterionConfig(LabelSmoothedCrossEntropyCriterionConfig, RDropTokenConfig):
    """The parent's flags and R-Drop's."""


@register_criterion("rdrop_label_smoothed_cross_entropy", dataclass=RDropLabelSmoothedCrossEntropyCriterionConfig)
class RDropLabelSmoothedCrossEntropyCriterion(RDropTokenCriterion, LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy of all passes plus the divergence between them (Liang et al., 2021, eq. 4).

    The parent smooths the labels: epsilon is spread over the V - 1 other words.
    """

    is_cross_entropy = True

    def plain_loss(
        self, model: Any, net_output: Any, repeated: dict[str, Any], alpha: float, reduce: bool = True
    ) -> RDropLoss:
        """Return the parent's loss of the model's log-probabilities plus alpha times their divergence."""
        net_output = self.without_ignored(model, net_output, repeated)
        lprobs, target = self.get_lprobs_and_target(model, net_output, repeated)
        loss, nll_loss = label_smoothed_nll_loss(lprobs, target, self.eps, self.padding_idx, reduce)
        result = self.add_divergence(loss, nll_loss, lprobs, target, alpha)
        if self.report_accuracy:
            result = result._replace(n_correct=self.compute_accuracy(model, net_output, repeated)[0])
        return result
