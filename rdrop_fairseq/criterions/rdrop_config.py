"""R-Drop's flags, declared once for all criterions, and the checks of their values."""

import math
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import TASK_REGISTRY
from omegaconf import II

from rdrop_fairseq.compat.task_and_criterion import OffersUnlabeled, TellsNumUpdates
from rdrop_fairseq.cutoff import REPLACEMENTS, SIDES, UNITS, Cutoff
from rdrop_fairseq.divergence import DIVERGENCES

LOSS_WAYS = ("auto", "fused", "plain")

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
            "reverse = KL(p2||p1), js = Jensen-Shannon, bhattacharyya = -log sum sqrt(p1 p2), that of Cutoff"
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
    rdrop_start_update: int = field(
        default=0,
        metadata={"help": "this many updates have the plain parent loss; the warm-up of the weight counts from there"},
    )
    rdrop_decay_updates: int = field(
        default=0,
        metadata={
            "help": "if above 0, lower the weight linearly to 0 over this many updates after the warm-up; then the "
            "updates have the plain parent loss"
        },
    )
    rdrop_unlabeled_alpha: float = field(
        default=0.0,
        metadata={
            "help": "weight of the divergence of what has no label, which gives no other loss: the sentences marked "
            "<unlabeled> of rdrop_sentence_prediction, and the pairs of --rdrop-unlabeled-subset of "
            "rdrop_translation; 0 = there are none. The schedule of the weight is that of --rdrop-alpha"
        },
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
    rdrop_pass_weights: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "weight of the parent's loss in each pass, separated by commas: 1,1 is R-Drop, 1,0 is SimCut; "
            "nll_loss and ppl in the log are then weighted means over the passes"
        },
    )
    rdrop_fraction: float = field(
        default=1.0,
        metadata={
            "help": "the part of the sentences of a batch, drawn at random, that get all passes; the others get one. "
            "The loss is in expectation that of the whole batch"
        },
    )
    rdrop_cutoff: float = field(
        default=0.0,
        metadata={"help": "probability of a token or span to be cut from the input of a pass; 0 cuts nothing"},
    )
    rdrop_cutoff_unit: str = field(
        default="token",
        metadata={
            "help": "token = each for itself; span = several tokens in a row; feature = that part of the dimensions of "
            "the embeddings, the same at all positions of a sentence"
        },
    )
    rdrop_cutoff_replacement: str = field(
        default="zero",
        metadata={"help": "zero = the embedding becomes 0; unk = the token becomes <unk>"},
    )
    rdrop_cutoff_side: str = field(
        default="both",
        metadata={"help": "source = input of the encoder, target = input of the decoder, or both"},
    )
    rdrop_cutoff_passes: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "the passes that are cut, counted from 1 and separated by commas; the last one by default"},
    )
    # These two are no flags. fairseq's sentence_prediction looks for them in its criterion while it puts the
    # configuration together, and fails with a page of traceback if they are missing. With them the criterion gets to
    # say in one line that it is not for that task. Their values mean nothing: any key of the same type would do.
    regression_target: bool = II("common.tpu")
    classification_head_name: str = II("criterion._name")


def check_flags(cfg: RDropConfig, task: Any) -> None:
    """Raise ``ValueError`` if the value of a flag is out of range, or if it needs an R-Drop task and has none."""
    for name in ("rdrop_alpha", "rdrop_unlabeled_alpha"):
        check(0 <= getattr(cfg, name) < math.inf, cfg, name, "a finite number >= 0")
    check(cfg.rdrop_divergence in DIVERGENCES, cfg, "rdrop_divergence", f"one of {', '.join(DIVERGENCES)}")
    check(cfg.rdrop_passes >= 2, cfg, "rdrop_passes", "an integer >= 2")
    check(cfg.rdrop_every >= 1, cfg, "rdrop_every", "an integer >= 1")
    for name in ("rdrop_warmup_updates", "rdrop_start_update", "rdrop_decay_updates"):
        check(getattr(cfg, name) >= 0, cfg, name, "an integer >= 0")
    if not isinstance(task, OffersUnlabeled):
        needs = f"with a task that has nothing unlabelled; use --task {_tasks(OffersUnlabeled)}"
        check(cfg.rdrop_unlabeled_alpha == 0, cfg, "rdrop_unlabeled_alpha", f"0 {needs}")
    if not isinstance(task, TellsNumUpdates):
        needs = f"with a task that does not tell the criterion the update; use --task {_tasks(TellsNumUpdates)}"
        check(cfg.rdrop_every == 1, cfg, "rdrop_every", f"1 {needs}")
        for name in ("rdrop_warmup_updates", "rdrop_start_update", "rdrop_decay_updates"):
            check(getattr(cfg, name) == 0, cfg, name, f"0 {needs}")


def check_task(cfg: RDropTokenConfig, task: Any) -> None:
    """Raise ``ValueError`` if the task is known to have other targets than the next word."""
    for name, targets in NOT_FOR_TASKS.items():
        if isinstance(task, TASK_REGISTRY.get(name, ())):
            raise ValueError(
                f"--task {name}: its targets are {targets}; --criterion {cfg._name} is for tasks that predict the next "
                "word"
            )


def dropouts_from(cfg: RDropConfig) -> list[float] | None:
    """Return the dropout rate of each pass, or None if the model keeps its own.

    Raises:
        ValueError: if ``--rdrop-dropouts`` does not hold one rate in [0, 1) for each pass.
    """
    if cfg.rdrop_dropouts is None:
        return None
    rates = _numbers(cfg.rdrop_dropouts)
    allowed = f"{cfg.rdrop_passes} rates in [0, 1), one for each pass, separated by commas"
    check(len(rates) == cfg.rdrop_passes and all(0 <= rate < 1 for rate in rates), cfg, "rdrop_dropouts", allowed)
    return rates


def weights_from(cfg: RDropTokenConfig) -> tuple[float, ...]:
    """Return the weight of the parent's loss in each pass; 1 for each without ``--rdrop-pass-weights``.

    Raises:
        ValueError: if ``--rdrop-pass-weights`` does not hold one finite number >= 0 for each pass, not all of them 0.
    """
    if cfg.rdrop_pass_weights is None:
        return (1.0,) * cfg.rdrop_passes
    weights = tuple(_numbers(cfg.rdrop_pass_weights))
    allowed = f"{cfg.rdrop_passes} finite numbers >= 0, one for each pass, not all 0, separated by commas"
    fits = len(weights) == cfg.rdrop_passes and all(0 <= weight < math.inf for weight in weights) and any(weights)
    check(fits, cfg, "rdrop_pass_weights", allowed)
    return weights


def cutoff_from(cfg: RDropTokenConfig) -> Cutoff | None:
    """Return what is cut in which passes, or None if nothing is.

    Raises:
        ValueError: if the value of a flag of the cutoff is not allowed.
    """
    check(0 <= cfg.rdrop_cutoff < 1, cfg, "rdrop_cutoff", "a number in [0, 1)")
    for name, allowed in (("unit", UNITS), ("replacement", REPLACEMENTS), ("side", SIDES)):
        name = f"rdrop_cutoff_{name}"
        check(getattr(cfg, name) in allowed, cfg, name, f"one of {', '.join(allowed)}")
    by_word = cfg.rdrop_cutoff_replacement == "unk"
    fits = not by_word or cfg.rdrop_cutoff_unit != "feature"
    check(fits, cfg, "rdrop_cutoff_replacement", "zero with --rdrop-cutoff-unit feature")
    passes = [cfg.rdrop_passes] if cfg.rdrop_cutoff_passes is None else _numbers(cfg.rdrop_cutoff_passes)
    fits = bool(passes) and len(set(passes)) == len(passes) and set(passes) <= set(range(1, cfg.rdrop_passes + 1))
    check(fits, cfg, "rdrop_cutoff_passes", f"different numbers from 1 to {cfg.rdrop_passes}, separated by commas")
    if not cfg.rdrop_cutoff:
        return None
    kind = cfg.rdrop_cutoff_unit, cfg.rdrop_cutoff_replacement, cfg.rdrop_cutoff_side
    return Cutoff(cfg.rdrop_cutoff, *kind, tuple(int(number) - 1 for number in sorted(passes)))


def _tasks(kind: type) -> str:
    """Return the names of the tasks that are of a kind."""
    return " or ".join(sorted(name for name, known in TASK_REGISTRY.items() if issubclass(known, kind)))


def _numbers(text: str) -> list[float]:
    """Return the numbers that a text holds, separated by commas; none if one of them is no number."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        return []


def check(holds: bool, cfg: RDropConfig, name: str, allowed: str) -> None:
    """Raise ``ValueError`` unless the condition holds; the message names the flag, its value and what is allowed."""
    if not holds:
        raise ValueError(f"--{name.replace('_', '-')} {getattr(cfg, name)}: must be {allowed}")
