"""R-Drop for fairseq's cross-entropy: language modeling."""

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from fairseq.criterions import register_criterion
from fairseq.criterions.cross_entropy import CrossEntropyCriterion, CrossEntropyCriterionConfig

from rdrop_fairseq.criterions.rdrop_config import RDropTokenConfig, alpha_field
from rdrop_fairseq.criterions.rdrop_groups import Group
from rdrop_fairseq.criterions.rdrop_token_criterion import RDropTokenCriterion
from rdrop_fairseq.fused import RDropLoss


@dataclass
class RDropCrossEntropyCriterionConfig(CrossEntropyCriterionConfig, RDropTokenConfig):
    """The parent's flags and R-Drop's."""

    rdrop_alpha: float = alpha_field(1.0, "language models")


@register_criterion("rdrop_cross_entropy", dataclass=RDropCrossEntropyCriterionConfig)
class RDropCrossEntropyCriterion(RDropTokenCriterion, CrossEntropyCriterion):
    """Cross-entropy of all passes plus the divergence between them (Liang et al., 2021, eq. 4)."""

    is_cross_entropy = True

    def plain_loss(self, model: Any, group: Group, reduce: bool = True) -> RDropLoss:
        """Return the parent's loss of the model's log-probabilities plus alpha times their divergence."""
        net_output = self.without_ignored(model, group)
        lprobs = model.get_normalized_probs(net_output, log_probs=True).flatten(0, -2)
        target = model.get_targets(group.repeated, net_output).view(-1)
        reduction = "sum" if reduce and group.is_even else "none"
        loss = F.nll_loss(lprobs, target, ignore_index=self.padding_idx, reduction=reduction)
        return self.add_divergence(loss, loss, lprobs, target, group, reduce)
