"""R-Drop's flags, declared once for all criterions, and the checks of their values."""

import math
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import TASK_REGISTRY
from omegaconf import II

from rdrop_fairseq.compat.task_and_criterion import TellsNumUpdates
from rdrop_fairseq.divergence import DIVERGENCES

LOSSES = ("auto", "fused", "plain")


def alpha_field(default: float, model: str) -> Any:
    """Return the declaration of ``--rdrop-alpha`` for a criterion whose default is the paper's for such a model."""
    return field(
        default=default,
        metadata={
            "help": f"weight of the divergence between the passes, {default:g} in the paper for {model}; the training "
            "loss is the sum over the passes plus this times the divergence, and --clip-norm clips the gradient of "
            "that loss; 0 is the parent criterion exactly"
        },
    )


@dataclass
class RDropConfig(FairseqDataclass):
    """The flags of every R-Drop criterion. A criterion may declare its own default of ``rdrop_alpha``."""

    rdrop_alpha: float = alpha_field(5.0, "translation")
    rdrop_divergence: str = field(
        default="symmetric",
        metadata={
            "help": "divergence between two passes p1 and p2: symmetric = mean of both KL, forward = KL(p1||p2), "
            "reverse = KL(p2||p1), js = Jensen-Shannon"
        },
    )
    rdrop_passes: int = field(
        default=2,
        metadata={
            "help": "how many forward passes each sample gets; with more than 2, the divergence is the mean over the "
            "pairs of passes"
        },
    )
    rdrop_every: int = field(
        default=1, metadata={"help": "apply R-Drop on every K-th update, and the plain parent loss on the others"}
    )
    rdrop_warmup_updates: int = field(
        default=0, metadata={"help": "raise the weight linearly from 0 over this many updates"}
    )
    rdrop_dropouts: Optional[str] = field(  # noqa: UP045  (fairseq's argument parser knows no other spelling)
        default=None,
        metadata={"help": "one dropout rate for each pass, separated by commas, instead of the model's own rate"},
    )


@dataclass
class RDropTokenConfig(RDropConfig):
    """The flags of an R-Drop criterion over tokens."""

    rdrop_loss: str = field(
        default="auto",
        metadata={
            "help": "fused = output projection, loss and divergence in one function, chunk by chunk; plain = from the "
            "model's log-probabilities; auto = fused where the model allows it. The results are equal"
        },
    )
    # These two are no flags. fairseq's sentence_prediction looks for them in its criterion while it puts the
    # configuration together, and fails with a page of traceback if they are missing. With them the criterion gets to
    # say in one line that it is not for that task. Their values mean nothing: any key of the same type would do.
    regression_target: bool = II("common.tpu")
    classification_head_name: str = II("criterion._name")


def check_flags(cfg: RDropConfig, task: Any) -> None:
    """Raise ``ValueError`` if the value of a flag is out of range, or if it needs an R-Drop task and has none."""
    check(math.isfinite(cfg.rdrop_alpha) and cfg.rdrop_alpha >= 0, cfg, "rdrop_alpha", "a finite number >= 0")
    check(cfg.rdrop_divergence in DIVERGENCES, cfg, "rdrop_divergence", f"one of {', '.join(DIVERGENCES)}")
    check(cfg.rdrop_passes >= 2, cfg, "rdrop_passes", "an integer >= 2")
    check(cfg.rdrop_every >= 1, cfg, "rdrop_every", "an integer >= 1")
    check(cfg.rdrop_warmup_updates >= 0, cfg, "rdrop_warmup_updates", "an integer >= 0")
    if not isinstance(task, TellsNumUpdates):
        tasks = sorted(name for name, known in TASK_REGISTRY.items() if issubclass(known, TellsNumUpdates))
        needs = f"with a task that does not tell the criterion the update; use --task {' or '.join(tasks)}"
        check(cfg.rdrop_every == 1, cfg, "rdrop_every", f"1 {needs}")
        check(cfg.rdrop_warmup_updates == 0, cfg, "rdrop_warmup_updates", f"0 {needs}")


def dropouts_from(cfg: RDropConfig) -> list[float] | None:
    """Return the dropout rate of each pass, or None if the model keeps its own.

    Raises:
        ValueError: if ``--rdrop-dropouts`` does not hold one rate in [0, 1) for each pass.
    """
    if cfg.rdrop_dropouts is None:
        return None
    try:
        rates = [float(rate) for rate in cfg.rdrop_dropouts.split(",")]
    except ValueError:
        rates = []
    allowed = f"{cfg.rdrop_passes} rates in [0, 1), one for each pass, separated by commas"
    check(len(rates) == cfg.rdrop_passes and all(0 <= rate < 1 for rate in rates), cfg, "rdrop_dropouts", allowed)
    return rates


def check(holds: bool, cfg: RDropConfig, name: str, allowed: str) -> None:
    """Raise ``ValueError`` unless the condition holds; the message names the flag, its value and what is allowed."""
    if not holds:
        raise ValueError(f"--{name.replace('_', '-')} {getattr(cfg, name)}: must be {allowed}")
