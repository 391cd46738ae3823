"""The flow of one update, for any loss: the parent's loss, or several passes of the batch and their divergence."""

import logging
import math
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from fairseq import utils
from fairseq.criterions import FairseqCriterion
from fairseq.distributed.utils import get_global_rank
from fairseq.logging import metrics
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from rdrop_fairseq.compat.forwards import checkpoints_activations
from rdrop_fairseq.compat.task_and_criterion import ChecksModel, TellsNumUpdates
from rdrop_fairseq.criterions.rdrop_config import RDropConfig, check_flags, dropouts_from
from rdrop_fairseq.dropout import DropoutRateError
from rdrop_fairseq.passes import (
    drops_layers,
    forward_passes,
    is_random,
    join_batches,
    needs_separate_forwards,
    repeat_batch,
)
from rdrop_fairseq.schedule import AlphaSchedule
from rdrop_fairseq.watch import NO_DIVERGENCE, Watch

logger = logging.getLogger(__name__)


@dataclass
class Plan:
    """What is decided once for each model."""

    separate: bool  # whether each pass needs its own forward


class Terms(NamedTuple):
    """The loss of one batch, from all passes, and what is logged of it."""

    loss: Tensor  # the task's loss, summed over the passes, plus alpha times the divergence; in nats
    kl_loss: Tensor  # the divergence, summed over the tokens or sentences; in nats
    kl_count: int  # how many tokens or sentences ``kl_loss`` is the sum of
    sample_size: int  # by what the trainer divides the gradient: the size of one copy of the batch
    log: dict[str, Any]  # what the parent logs besides its loss, as means over the passes


class RDropCriterion(ChecksModel, FairseqCriterion):
    """Add R-Drop to the training loss of a fairseq criterion (Liang et al., 2021, eq. 4).

    A subclass inherits from this class first, then from its parent, the fairseq criterion.

    In evaluation mode, and at updates where the weight is 0, the parent's ``forward`` runs as it is. At the other
    updates ``rdrop_terms``, which a subclass defines, computes the loss of all passes and their divergence.

    fairseq makes the criterion by ``build_criterion``.
    """

    num_updates = 0  # an R-Drop task sets it before each training step
    takes_unlabeled = False  # whether --rdrop-unlabeled-alpha is above 0
    counted = "nsentences"  # the key of the log by which the parent divides what has labels alone
    pass_weights: tuple[float, ...] = ()  # of the task's loss in each pass; empty where all are 1

    @classmethod
    def build_criterion(cls, cfg: Any, task: Any) -> "RDropCriterion":
        """Return the parent's criterion with R-Drop's settings; exit with one line on a bad value of a flag."""
        criterion = super().build_criterion(cfg, task)
        try:
            criterion.configure_rdrop(cfg, task)
        except ValueError as error:
            sys.exit(f"error: {error}")  # one line for the user, where an exception would be a page of traceback
        return criterion

    def configure_rdrop(self, cfg: RDropConfig, task: Any) -> None:
        """Take R-Drop's settings from ``cfg``.

        Raises:
            ValueError: if a value is out of range, or if the criterion does not fit the task.
        """
        check_flags(cfg, task)
        self.name = cfg._name
        self.has_rdrop_task = isinstance(task, TellsNumUpdates)
        self.dropouts = dropouts_from(cfg)
        self.divergence = cfg.rdrop_divergence
        self.passes = cfg.rdrop_passes
        self.alpha_at = AlphaSchedule(
            cfg.rdrop_alpha,
            cfg.rdrop_every,
            cfg.rdrop_warmup_updates,
            cfg.rdrop_start_update,
            cfg.rdrop_decay_updates,
        )
        self.takes_unlabeled = cfg.rdrop_unlabeled_alpha > 0
        self.unlabeled_alpha_at = replace(self.alpha_at, alpha=cfg.rdrop_unlabeled_alpha)
        # Models are kept in a set and a dict. As an attribute of the criterion, which is a torch module, a model would
        # count as a part of it, and every checkpoint would hold the model twice.
        self.checked: set[Any] = set()
        self.plans: dict[Any, Any] = {}
        self.watched = Watch()

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """Return the loss, the sample size by which the trainer divides the gradient, and what to log.

        In training the sample size is that of one copy of the batch, so the trainer's quotient is the paper's sum over
        the passes.

        What has no label (``--rdrop-unlabeled-alpha``) gives that weight times its divergence, and no other loss. It
        counts in the sample size as what has a label does. So the gradient is the mean over all sentences (or tokens)
        of a batch, and the sums of several batches, with labels, without, or with both, are those of one large batch.
        Metrics of the labels are means over what has one.
        """
        if not model.training:
            return super().forward(model, sample, reduce)
        if model not in self.checked:
            self.check_model(model)
            self.checked.add(model)
        alpha = self.alpha_at(self.num_updates)
        if alpha == 0 and self.unlabeled_alpha_at(self.num_updates) == 0:
            loss, sample_size, log = super().forward(model, self.labeled_only(sample), reduce)
            log = {**log, "kl_loss": 0, "kl_count": 0}
        else:
            if model not in self.plans:
                self.plans[model] = self.plan(model)
            loss, kl_loss, kl_count, sample_size, log = self.rdrop_terms(model, sample, alpha, reduce)
            self.watch(kl_loss, kl_count)
            log = {"loss": loss.data, **log, "kl_loss": kl_loss.data, "kl_count": kl_count, "sample_size": sample_size}
        if self.takes_unlabeled:
            log = {"unlabeled_kl_loss": 0, **log, "labeled": self.count_labeled(sample)}
        log["rdrop_alpha"] = alpha * sample_size  # a sum over the batches, as everything that is logged
        return loss, sample_size, log

    def rdrop_terms(self, model: Any, sample: dict[str, Any], alpha: float, reduce: bool) -> Terms:
        """Return the loss of all passes, with the weight ``alpha`` for their divergence.

        With ``--rdrop-unlabeled-alpha`` it also logs ``unlabeled_kl_loss``, the sum over what has no label.

        Without ``reduce``, ``loss`` and ``kl_loss`` hold a value for each token or sentence of one copy.
        """
        raise NotImplementedError

    def labeled_only(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Return the sample with a target that the parent ignores where there is no label."""
        return sample

    def count_labeled(self, sample: dict[str, Any]) -> Any:
        """Return how many of what ``counted`` counts have a label."""
        raise NotImplementedError

    def plan(self, model: Any) -> Plan:
        """Decide what is decided once for each model, and say in the log what its numbers mean.

        Exit with one line where R-Drop is not possible.
        """
        separate = needs_separate_forwards(model)
        if drops_layers(model) and any(isinstance(module, DistributedDataParallel) for module in model.modules()):
            sys.exit(
                "error: --ddp-backend pytorch_ddp: does not go with LayerDrop, with --find-unused-parameters or "
                "without, as each pass of R-Drop leaves out other layers; must be legacy_ddp"
            )
        if self.dropouts is not None and checkpoints_activations(model):
            # Backward would run the forward again after the model has got its own rates back.
            sys.exit("error: --rdrop-dropouts does not go with --checkpoint-activations")
        weights = ", ".join(f"{weight:g}" for weight in self.pass_weights)
        logger.info(
            "R-Drop in training: loss and gnorm, which --clip-norm clips, are those of the sum over %d passes%s plus "
            "rdrop_alpha times kl_loss",
            self.passes,
            f" (with the weights {weights})" if set(self.pass_weights) - {1.0} else "",
        )
        if not self.passes_differ(model):
            self.watched.batches = 1
        return Plan(separate)

    def passes_differ(self, model: Any) -> bool:
        """Return whether anything that is known makes the passes differ."""
        return is_random(model)

    def run_passes(
        self, model: Any, sample: dict[str, Any], later: dict[str, Any] | None = None, **options: Any
    ) -> tuple[dict[str, Any], Any]:
        """Return the repeated batch and the model's output for it: all passes, joined along the batch.

        The passes after the first get the batch ``later``, if there is one, and else ``sample``. The options go to the
        model. Exit with one line if it has no dropout that could take ``--rdrop-dropouts``.
        """
        batches = [sample] + [sample if later is None else later] * (self.passes - 1)
        repeated = repeat_batch(sample, self.passes) if later is None else join_batches(batches)
        rows = [len(batch["target"]) for batch in batches]
        try:
            output = forward_passes(
                model,
                sample,
                repeated,
                self.dropouts,
                self.passes,
                separate=self.plans[model].separate,
                later=later,
                within=partial(self.within, model, rows),
                **options,
            )
        except DropoutRateError as error:
            sys.exit(f"error: --rdrop-dropouts {error}")
        return repeated, output

    def within(self, model: Any, rows: Sequence[int], passes: Sequence[int]) -> AbstractContextManager[None]:
        """Return the context of a forward that holds the given passes; ``rows`` are the sentences of each pass."""
        return nullcontext()

    def watch(self, kl_loss: Tensor, kl_count: int) -> None:
        """Warn, on one process, if the passes were equal in all of the first batches: then R-Drop has no effect."""
        if self.watched.has_no_effect(kl_loss, kl_count) and get_global_rank() == 0:
            logger.warning(
                "R-Drop has no effect here: kl_loss stays below %g, as the %d passes are equal; the model needs "
                "dropout (--dropout above 0)",
                NO_DIVERGENCE,
                self.passes,
            )

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the parent's metrics. In training also log ``kl_loss`` (bits a token or sentence) and ``rdrop_alpha``."""
        if not any("rdrop_alpha" in log for log in logging_outputs):
            super().reduce_metrics(logging_outputs)
            return
        cls.reduce_training_metrics([cls.of_labels(log) for log in logging_outputs])
        kl_loss, kl_count, alpha, sample_size = (
            utils.item(sum(log.get(key, 0) for log in logging_outputs))
            for key in ("kl_loss", "kl_count", "rdrop_alpha", "sample_size")
        )
        metrics.log_scalar("kl_loss", kl_loss / (kl_count or 1) / math.log(2), kl_count, round=4)
        if any("unlabeled_kl_loss" in log for log in logging_outputs):
            kl_loss = utils.item(sum(log.get("unlabeled_kl_loss", 0) for log in logging_outputs))
            count = utils.item(sum(log.get(cls.counted, 0) - log.get("labeled", 0) for log in logging_outputs))
            metrics.log_scalar("unlabeled_kl_loss", kl_loss / (count or 1) / math.log(2), count, round=4)
        metrics.log_scalar("rdrop_alpha", alpha / (sample_size or 1), weight=0, round=4)  # weight 0: the latest value

    @classmethod
    def of_labels(cls, log: dict[str, Any]) -> dict[str, Any]:
        """Return a log by which the parent divides what has labels alone by the number of what has one."""
        if "labeled" not in log:
            return log
        return {**log, cls.counted: log["labeled"] + 1e-9}  # not 0, or a batch without labels would divide by it

    @classmethod
    def reduce_training_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the metrics of training besides R-Drop's own: the parent's, unless a subclass needs others."""
        super().reduce_metrics(logging_outputs)
