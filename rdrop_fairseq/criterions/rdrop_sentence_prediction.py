"""R-Drop for fairseq's sentence prediction: classes, as in GLUE, or a number, as in STS-B."""

import sys
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.sentence_prediction import SentencePredictionConfig, SentencePredictionCriterion
from torch import Tensor

from rdrop_fairseq.compat.task_and_criterion import IGNORED
from rdrop_fairseq.criterions.rdrop_config import RDropConfig, alpha_field, check
from rdrop_fairseq.criterions.rdrop_criterion import RDropCriterion, Terms
from rdrop_fairseq.terms import LossOptions, cross_entropy, general

REPORTS = ("report_mcc", "report_acc_and_f1", "report_pearson_and_spearman")  # the parent's flags; the last for numbers


@dataclass
class RDropSentencePredictionConfig(SentencePredictionConfig, RDropConfig):
    """The parent's flags and R-Drop's."""

    rdrop_alpha: float = alpha_field(1.0, "most tasks of GLUE")


@register_criterion("rdrop_sentence_prediction", dataclass=RDropSentencePredictionConfig)
class RDropSentencePredictionCriterion(RDropCriterion, SentencePredictionCriterion):
    """The parent's loss of all passes plus the divergence between them.

    For classes these are the cross-entropy and the divergence of the distributions (Liang et al., 2021, eq. 4). With
    ``--regression-target`` they are the squared error and the squared difference of two passes (eq. 7 and 8), as the
    mean over the pairs of passes.

    A class of -100 says that a sentence has no label, as in torch's ``cross_entropy``. Such a sentence gives only
    ``--rdrop-unlabeled-alpha`` times its divergence; the accuracy leaves it out.
    """

    @classmethod
    def build_criterion(cls, cfg: Any, task: Any) -> "RDropSentencePredictionCriterion":
        """Return the criterion; exit with one line if the task has no labels of sentences, or on a bad flag."""
        if not hasattr(task, "label_dictionary"):
            sys.exit(f"error: --criterion {cfg._name} is for --task rdrop_sentence_prediction or sentence_prediction")
        criterion: RDropSentencePredictionCriterion = super().build_criterion(cfg, task)
        return criterion

    def configure_rdrop(self, cfg: Any, task: Any) -> None:
        """Also raise ``ValueError`` if a flag does not go with numbers, or a score not with the labels."""
        super().configure_rdrop(cfg, task)
        fits = not cfg.regression_target or cfg.rdrop_divergence == "symmetric"
        check(fits, cfg, "rdrop_divergence", "symmetric with --regression-target, whose divergence has no direction")
        fits = not (cfg.regression_target and self.takes_unlabeled)
        check(fits, cfg, "rdrop_unlabeled_alpha", "0 with --regression-target, for which a label must be there")
        for name in REPORTS[:2]:
            fits = not (cfg.regression_target and getattr(cfg, name))
            check(fits, cfg, name, "left out with --regression-target; --report-pearson-and-spearman is for numbers")
        if self.keep_pred_and_targ and not cfg.regression_target:  # the parent makes integers of the labels
            first = task.label_dictionary.nspecial
            labels = task.label_dictionary.symbols[first : first + task.cfg.num_classes]
            name = next(name for name in REPORTS if getattr(cfg, name))
            has = f"; those of the dictionary are {' '.join(labels)}"
            check(all(map(str.isdigit, labels)), cfg, name, f"left out unless the labels are integers{has}")
            fits = not cfg.report_acc_and_f1 or set(labels) == {"0", "1"}
            check(fits, cfg, "report_acc_and_f1", f"left out unless the labels are 0 and 1{has}")

    def check_model(self, model: Any) -> None:
        """Exit with one line if the model lacks the classification head, or adds a loss for adaptive pruning."""
        if self.classification_head_name not in getattr(model, "classification_heads", ()):
            sys.exit(
                f"error: the model has no classification head {self.classification_head_name}; it must be one with "
                "such heads, as --arch roberta, and --classification-head-name must name one of them"
            )
        for name in ("mha_reg_scale_factor", "ffn_reg_scale_factor"):
            if getattr(getattr(model, "args", None), name, 0):
                sys.exit(f"error: --{name.replace('_', '-')}: must be 0 with --criterion {self.name}")

    def rdrop_terms(self, model: Any, sample: dict[str, Any], alpha: float, reduce: bool) -> Terms:
        """Return the loss of all passes, with ``alpha`` times the divergence, and the counts of one copy."""
        options = {"features_only": True, "classification_head_name": self.classification_head_name}
        _, net_output = self.run_passes(model, sample, **options)
        outputs = net_output[0].float().unflatten(0, (self.passes, -1))  # [M, B, classes] or [M, B, numbers]
        target = model.get_targets(sample, net_output).view(-1)
        task, kl_loss = self.terms(outputs, target)
        weighted = alpha * kl_loss
        log: dict[str, Any] = {"ntokens": sample["ntokens"], "nsentences": target.numel()}
        if self.takes_unlabeled:
            marked = target.eq(IGNORED)
            weighted = torch.where(marked, self.unlabeled_alpha_at(self.num_updates) * kl_loss, weighted)
            log["unlabeled_kl_loss"] = kl_loss.data.masked_fill(~marked, 0).sum()
        if not self.regression_target:
            log["ncorrect"] = outputs.argmax(-1).eq(target).sum() / self.passes
        loss = task + weighted
        if reduce:
            loss, kl_loss = loss.sum(), kl_loss.sum()
        return Terms(loss, kl_loss, target.numel(), target.numel(), log)

    def terms(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the task's loss, summed over the passes, and the divergence, averaged over their pairs.

        Args:
            outputs: ``[M, B, classes]``, or ``[M, B, numbers]``.
            target: class indices ``[B]``, -100 where there is no label; or ``[B * numbers]``.

        Returns:
            Two tensors ``[B]`` in nats; or ``[B * numbers]``, in the square of the unit of the target.
        """
        # fairseq's trainer looks for NaN itself.
        options = LossOptions(alpha=1.0, divergence=self.divergence, check=False)
        if self.regression_target:
            found = general(outputs.flatten(1), target.float(), options, is_mse=True)
        else:  # a sentence without a label has a divergence, so its class is made up, and the loss of that left out
            marked = target.eq(IGNORED)
            found = cross_entropy(outputs, target.masked_fill(marked, 0), options)
            assert found.task is not None
            found = found._replace(task=found.task.masked_fill(marked, 0))
        assert found.task is not None and found.divergence is not None  # there is a target, and alpha is not 0
        return found.task, found.divergence

    def count_labeled(self, sample: dict[str, Any]) -> Tensor:
        """Return the number of sentences that have a label."""
        return sample["target"].ne(IGNORED).sum()

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Return whether the logs of several processes are summed, and not joined, which fairseq can on GPUs alone.

        The parent says True, but the predictions that it logs in validation are lists.
        """
        return not torch.cuda.is_available()
