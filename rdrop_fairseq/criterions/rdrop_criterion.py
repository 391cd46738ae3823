"""What every R-Drop criterion shares: flags, their checks, the passes of one update, and what is logged."""

import logging
import math
import sys
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

import torch
from fairseq import utils
from fairseq.criterions import FairseqCriterion
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.dataclass import FairseqDataclass
from fairseq.distributed.utils import get_global_rank
from fairseq.logging import metrics
from fairseq.tasks import TASK_REGISTRY
from omegaconf import II
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from rdrop_fairseq.criterions.output_projection import NoOutputProjectionError, has_adaptive_softmax, output_projection
from rdrop_fairseq.divergence import DIVERGENCES, divergence
from rdrop_fairseq.fused import RDropLoss, linear_rdrop_loss
from rdrop_fairseq.passes import (
    DropoutRateError,
    drops_layers,
    forward_passes,
    is_random,
    needs_separate_forwards,
    repeat_batch,
)
from rdrop_fairseq.schedule import AlphaSchedule

LOSSES = ("auto", "fused", "plain")

# Tasks of fairseq whose targets are not the next word, and what they are. Tasks that are derived from one are like it.
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

# The warning that R-Drop has no effect comes if the divergence of a token stays below this, in nats, over so many
# batches; over one batch if the model shows nothing that draws.
_NO_DIVERGENCE, _WATCHED_BATCHES = 1e-6, 100

logger = logging.getLogger(__name__)


def alpha_field(default: float, model: str) -> Any:
    """The declaration of ``--rdrop-alpha`` with a default of its own for a criterion, for such a model in the paper."""
    return field(
        default=default,
        metadata={
            "help": f"weight of the divergence between the passes, {default:g} in the paper for {model}; the training "
            "loss is the sum over the passes plus this times the divergence, and so is the gradient that --clip-norm "
            "clips; 0 is the parent criterion exactly"
        },
    )


@dataclass
class RDropConfig(FairseqDataclass):
    """R-Drop's flags, declared here alone but for a criterion's own default of the weight."""

    rdrop_alpha: float = alpha_field(5.0, "translation")
    rdrop_divergence: str = field(
        default="symmetric",
        metadata={
            "help": "divergence between two passes p1 and p2: symmetric = mean of both KL, forward = KL(p1||p2), "
            "reverse = KL(p2||p1), js = Jensen-Shannon"
        },
    )
    rdrop_passes: int = field(
        default=2, metadata={"help": "forward passes a sample; with more than 2, the mean over the pairs"}
    )
    rdrop_every: int = field(
        default=1, metadata={"help": "apply R-Drop on every K-th update, the plain parent loss on the others"}
    )
    rdrop_warmup_updates: int = field(
        default=0, metadata={"help": "raise the weight linearly from 0 over this many updates"}
    )
    rdrop_dropouts: Optional[str] = field(  # noqa: UP045  (fairseq's argument parser knows this spelling alone)
        default=None,
        metadata={"help": "one dropout rate for each pass, separated by commas, instead of the model's own rate"},
    )
    rdrop_loss: str = field(
        default="auto",
        metadata={
            "help": "fused = output projection, loss and divergence in one function, chunk by chunk; plain = from the "
            "model's log-probabilities; auto = fused where the model allows it. The results are equal"
        },
    )
    # No flags: fairseq's sentence_prediction looks for these two in its criterion while the configuration is put
    # together. Without them that fails with a page of traceback before the criterion can say that it is not for it.
    # What they are set to means nothing: any key of the same type that is always there would do.
    regression_target: bool = II("common.tpu")
    classification_head_name: str = II("criterion._name")


class Plan(NamedTuple):
    """What is decided once a model."""

    projection: Any  # what the fused loss takes over of the output layer, if it is in use
    separate: bool  # whether each pass needs a forward of its own


class RDropCriterion(FairseqCriterion):
    """Mixed in before a fairseq criterion, adds R-Drop to its training loss (Liang et al., 2021, eq. 4).

    In evaluation mode, and at updates where the weight is 0, the parent's ``forward`` runs untouched. Otherwise the
    loss is the parent's, summed over the passes, plus alpha times the divergence: from the features, fused with the
    output projection, where the model allows it, and otherwise from the log-probabilities. A subclass says how it
    follows from these: ``plain_loss``. Made by ``build_criterion``, as fairseq does.
    """

    num_updates = 0  # set by an R-Drop task before each training step
    for_adaptive_softmax = False  # whether the criterion wants a model with adaptive softmax, or one without
    eps, ignore_prefix_size, report_accuracy = 0.0, 0, False  # for parents without these settings

    @classmethod
    def build_criterion(cls, cfg: Any, task: Any) -> "RDropCriterion":
        """The parent's criterion from its own part of ``cfg``, and R-Drop's settings; exits on a bad flag value."""
        criterion = super().build_criterion(cfg, task)
        try:
            criterion.configure_rdrop(cfg, task)
        except ValueError as error:
            sys.exit(f"error: {error}")  # one line for the user, where an exception would be a page of traceback
        return criterion

    def configure_rdrop(self, cfg: RDropConfig, task: Any) -> None:
        """Take R-Drop's settings from ``cfg``.

        Raises:
            ValueError: if a value is out of range, or needs an R-Drop task and ``task`` is none, or if the criterion is
                not for the task.
        """
        for name, targets in NOT_FOR_TASKS.items():
            if isinstance(task, TASK_REGISTRY.get(name, ())):
                raise ValueError(
                    f"--task {name}: its targets are {targets}; --criterion {cfg._name} is for tasks that predict the "
                    "next word"
                )
        check(math.isfinite(cfg.rdrop_alpha) and cfg.rdrop_alpha >= 0, cfg, "rdrop_alpha", "a finite number >= 0")
        check(cfg.rdrop_divergence in DIVERGENCES, cfg, "rdrop_divergence", f"one of {', '.join(DIVERGENCES)}")
        check(cfg.rdrop_loss in LOSSES, cfg, "rdrop_loss", f"one of {', '.join(LOSSES)}")
        check(cfg.rdrop_passes >= 2, cfg, "rdrop_passes", "an integer >= 2")
        check(cfg.rdrop_every >= 1, cfg, "rdrop_every", "an integer >= 1")
        check(cfg.rdrop_warmup_updates >= 0, cfg, "rdrop_warmup_updates", "an integer >= 0")
        self.has_rdrop_task = hasattr(task, "tells_num_updates")
        if not self.has_rdrop_task:
            tasks = sorted(name for name, known in TASK_REGISTRY.items() if hasattr(known, "tells_num_updates"))
            needs = f"with a task that does not tell the criterion the update; use --task {' or '.join(tasks)}"
            check(cfg.rdrop_every == 1, cfg, "rdrop_every", f"1 {needs}")
            check(cfg.rdrop_warmup_updates == 0, cfg, "rdrop_warmup_updates", f"0 {needs}")
        self.name = cfg._name
        self.dropouts = _parse_dropouts(cfg)
        self.divergence = cfg.rdrop_divergence
        self.loss_kind = cfg.rdrop_loss
        # In a set and a dict: a model that is an attribute of the criterion, a torch module, would count as a part of
        # it, and be saved with it a second time in every checkpoint.
        self.checked: set[Any] = set()
        self.plans: dict[Any, Plan] = {}
        self.batches_to_watch, self.kl_seen, self.ntokens_seen = _WATCHED_BATCHES, torch.zeros(()), 0
        self.passes = cfg.rdrop_passes
        self.alpha_at = AlphaSchedule(cfg.rdrop_alpha, cfg.rdrop_every, cfg.rdrop_warmup_updates)

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss, the sample size by which the trainer divides the gradient, and what to log.

        In training the sample size counts one copy of the batch, so the trainer's quotient is the paper's sum over the
        passes; ``nll_loss`` is logged as the mean over the passes and compares with the parent's.
        """
        if not model.training:
            return super().forward(model, sample, reduce)
        if model not in self.checked:
            self.check_model(model)
            self.checked.add(model)
        alpha = self.alpha_at(self.num_updates)
        if alpha == 0:
            loss, sample_size, logging_output = super().forward(model, sample, reduce)
            logging_output = {"nll_loss": logging_output["loss"], **logging_output, "kl_loss": 0, "kl_ntokens": 0}
        else:
            if model not in self.plans:
                self.plans[model] = self.plan(model)
            plan = self.plans[model]
            projection = plan.projection if reduce else None
            repeated = repeat_batch(sample, self.passes)
            # With adaptive softmax the features are what a model returns anyway.
            features = {"features_only": True} if projection is not None and not self.for_adaptive_softmax else {}
            try:
                net_output = forward_passes(
                    model, sample, repeated, self.dropouts, self.passes, separate=plan.separate, **features
                )
            except DropoutRateError as error:
                sys.exit(f"error: --rdrop-dropouts {error}")
            if projection is not None:
                result = self.fused_loss(model, projection, net_output, sample, alpha)
            else:
                result = self.plain_loss(model, net_output, repeated, alpha, reduce)
            ntokens, nsentences = self.count_tokens(sample), sample["target"].size(0)
            sample_size = nsentences if self.sentence_avg else ntokens
            loss = result.loss
            self.watch(result.kl_loss, ntokens)
            logging_output = {
                "loss": loss.data,
                "nll_loss": result.nll_loss.data / self.passes,
                "kl_loss": result.kl_loss.data,
                "kl_ntokens": ntokens,
                "ntokens": ntokens,
                "nsentences": nsentences,
                "sample_size": sample_size,
            }
            if self.report_accuracy:
                counted = self.counted_target(model, net_output, sample).ne(self.padding_idx)
                logging_output["n_correct"] = utils.item(result.n_correct.data) / self.passes
                logging_output["total"] = utils.item(counted.sum())
        logging_output["rdrop_alpha"] = alpha * sample_size  # a sum, as everything that is logged, over the batches
        return loss, sample_size, logging_output

    def check_model(self, model: Any) -> None:
        """Exits with one line if the criterion is not for the model's output layer: adaptive softmax or a plain one."""
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
        """By how many tokens the parent divides the loss of one copy of the batch."""
        return int(sample["ntokens"])

    def plan(self, model: Any) -> Plan:
        """What is decided once a model; says which loss is in use, and why, and what the log shows.

        Exits with one line where R-Drop is not possible.
        """
        separate = needs_separate_forwards(model)
        if drops_layers(model) and any(isinstance(module, DistributedDataParallel) for module in model.modules()):
            sys.exit(
                "error: --ddp-backend pytorch_ddp: does not go with LayerDrop, with --find-unused-parameters or "
                "without, as each pass of R-Drop leaves out other layers; must be legacy_ddp"
            )
        projection, reason = None, "--rdrop-loss plain"
        if self.loss_kind != "plain":
            try:
                projection = self.find_projection(model)
            except NoOutputProjectionError as error:
                reason = str(error)
        if projection is not None:
            logger.info("R-Drop loss: fused with the output projection")
        elif self.loss_kind == "fused":
            sys.exit(f"error: --rdrop-loss fused: not possible here ({reason}); must be auto or plain")
        else:
            logger.info("R-Drop loss: plain (%s)", reason)
        logger.info(
            "R-Drop in training: loss and gnorm, which --clip-norm clips, are those of the sum over %d passes plus "
            "rdrop_alpha times kl_loss; nll_loss and ppl are means over the passes and compare with a baseline's",
            self.passes,
        )
        if not is_random(model):
            self.batches_to_watch = 1
        return Plan(projection, separate)

    def watch(self, kl_loss: Tensor, ntokens: int) -> None:
        """Warns, on one process, if the passes gave the same in all of the first batches: then R-Drop has no effect."""
        if not self.batches_to_watch:
            return
        self.kl_seen = self.kl_seen.to(kl_loss.device) + kl_loss.detach().sum()  # no number yet: that waits for the GPU
        self.ntokens_seen += ntokens
        self.batches_to_watch -= 1
        if not self.batches_to_watch and self.kl_seen < _NO_DIVERGENCE * self.ntokens_seen and get_global_rank() == 0:
            logger.warning(
                "R-Drop has no effect here: kl_loss stays below %g a token, as the %d passes are equal; the model "
                "needs dropout (--dropout above 0)",
                _NO_DIVERGENCE,
                self.passes,
            )

    def find_projection(self, model: Any) -> Any:
        """What ``fused_loss`` takes over of the model's output layer; ``NoOutputProjectionError`` if it must not."""
        return output_projection(model)

    def fused_loss(
        self, model: Any, projection: Any, net_output: Any, sample: dict[str, Any], alpha: float
    ) -> RDropLoss:
        """The loss from the features for the repeated batch, for a parent that is a (label-smoothed) cross-entropy."""
        hidden = net_output[0].unflatten(0, (self.passes, -1))  # [M, B, T, D]
        return linear_rdrop_loss(
            hidden[:, :, self.ignore_prefix_size :],
            projection.weight,
            self.counted_target(model, net_output, sample),
            alpha,
            bias=projection.bias,
            label_smoothing=self.eps,
            divergence=self.divergence,
            ignore_index=self.padding_idx,
            count_correct=self.report_accuracy,
        )

    def plain_loss(
        self, model: Any, net_output: Any, repeated: dict[str, Any], alpha: float, reduce: bool = True
    ) -> RDropLoss:
        """The loss from the model's log-probabilities. Summed over all positions, or a value for each of the N
        positions of one copy, in the parent's shape, if ``reduce`` is off."""
        raise NotImplementedError

    def add_divergence(self, loss: Tensor, nll_loss: Tensor, lprobs: Tensor, target: Tensor, alpha: float) -> RDropLoss:
        """The loss from the parent's, the log-probabilities ``[M * N, V]`` and the target ``[M * N]`` of all passes.

        ``loss`` and ``nll_loss`` are sums, or tensors ``[M * N, ...]``; the result is then for each of N positions.
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
        """The output of the model with logits 0 where a position does not count: padding, and the ignored prefix.

        What the model gave there, be it infinite or no number, reaches neither the loss nor, as 0 times it, a gradient;
        but where the model joins or cuts positions afterwards, its output is left as it is.
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
        """The divergence ``[N]`` between the passes in ``lprobs [M, N, V]``, 0 where the target ``[N]`` is padding."""
        return divergence(lprobs, self.divergence, check=False).masked_fill(target.eq(self.padding_idx), 0)

    def counted_target(self, model: Any, net_output: Any, sample: dict[str, Any]) -> Tensor:
        """The target ``[B, T]`` without the prefix that the parent leaves out."""
        return model.get_targets(sample, net_output)[:, self.ignore_prefix_size :]

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the parent's metrics and, of training steps, ``kl_loss`` (bits a token) and ``rdrop_alpha``."""
        if not any("rdrop_alpha" in log for log in logging_outputs):
            super().reduce_metrics(logging_outputs)
            return
        # Other parents take the perplexity from the loss, in which the divergence is.
        LabelSmoothedCrossEntropyCriterion.reduce_metrics(logging_outputs)
        kl_loss, kl_ntokens, alpha, sample_size = (
            utils.item(sum(log.get(key, 0) for log in logging_outputs))
            for key in ("kl_loss", "kl_ntokens", "rdrop_alpha", "sample_size")
        )
        metrics.log_scalar("kl_loss", kl_loss / (kl_ntokens or 1) / math.log(2), kl_ntokens, round=4)
        metrics.log_scalar("rdrop_alpha", alpha / (sample_size or 1), weight=0, round=4)  # weight 0: the latest value


def check(holds: bool, cfg: RDropConfig, name: str, allowed: str) -> None:
    """Raises ``ValueError``, with a line that names the flag, its value and what is allowed, unless it holds."""
    if not holds:
        raise ValueError(f"--{name.replace('_', '-')} {getattr(cfg, name)}: must be {allowed}")


def _parse_dropouts(cfg: RDropConfig) -> list[float] | None:
    if cfg.rdrop_dropouts is None:
        return None
    try:
        rates = [float(rate) for rate in cfg.rdrop_dropouts.split(",")]
    except ValueError:
        rates = []
    allowed = f"{cfg.rdrop_passes} rates in [0, 1), one for each pass, separated by commas"
    check(len(rates) == cfg.rdrop_passes and all(0 <= rate < 1 for rate in rates), cfg, "rdrop_dropouts", allowed)
    return rates
