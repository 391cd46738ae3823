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
from rdrop_fairseq.criterions.rdrop_groups import Group
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

    def plain_loss(self, model: Any, group: Group, reduce: bool = True) -> RDropLoss:
        """Return the parent's loss of the model's log-probabilities plus alpha times their divergence."""
        net_output = self.without_ignored(model, group)
        lprobs, target = self.get_lprobs_and_target(model, net_output, group.repeated)
        summed = reduce and group.is_even
        loss, nll_loss = label_smoothed_nll_loss(lprobs, target, self.eps, self.padding_idx, summed)
        result = self.add_divergence(loss, nll_loss, lprobs, target, group, reduce)
        if self.report_accuracy:
            correct = lprobs.argmax(-1).eq(target) & target.ne(self.padding_idx)
            result = result._replace(n_correct=group.weighted(correct.view(group.passes, -1).sum(1)))
        return result
