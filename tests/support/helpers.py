"""Tiny tasks, models and batches that need no files, one training step, and the table of criterions under test."""

import functools
import gc
import math
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.data import Dictionary
from fairseq.data.language_pair_dataset import collate
from fairseq.data.monolingual_dataset import collate as collate_blocks
from fairseq.logging import metrics
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq.tasks.translation import TranslationTask
from reference import RDrop, adaptive_rdrop, exact_adaptive_rdrop, rdrop

import rdrop_fairseq  # noqa: F401  (registers everything)

PAD = 1
RDROP_KEYS = {"kl_loss", "kl_count", "rdrop_alpha"}  # what a training step logs besides the parent's keys, and
# besides nll_loss, which not every parent tells apart from the loss


def of_logits(models, outputs, target, alpha, kind="symmetric", weights=None, **settings):
    """Return the reference where the outputs are the logits ``[B, T, V]`` of each pass."""
    return rdrop(torch.stack(outputs), target, alpha, settings.get("label_smoothing", 0.0), kind, PAD, weights)


def of_adaptive(models, outputs, target, alpha, kind="symmetric", weights=None, rdrop_adaptive_divergence="published"):
    """Return the reference where the outputs ``[B, T, D]`` of each pass go into the adaptive softmax of its model."""
    softmaxes = [model.decoder.adaptive_softmax for model in models]
    if rdrop_adaptive_divergence == "published":
        passes = [softmax(output, target) for softmax, output in zip(softmaxes, outputs, strict=True)]
        logits = [None if each[0] is None else torch.stack(each) for each in zip(*(p[0] for p in passes), strict=True)]
        clusters = zip(logits, passes[0][1], strict=True)
        return adaptive_rdrop([cluster for cluster in clusters if cluster[1] is not None], alpha, kind, PAD, weights)
    heads, tails = [], []
    for softmax, output in zip(softmaxes, outputs, strict=True):
        states = softmax.dropout_module(output.flatten(0, 1))
        heads.append(softmax.head(states))
        tails.append([tail(states) for tail in softmax.tail])
    tails = [torch.stack(each) for each in zip(*tails, strict=True)]
    return exact_adaptive_rdrop(torch.stack(heads), tails, target.flatten(), alpha, kind, PAD, weights)


@dataclass(frozen=True)
class Case:
    """A criterion, with what the contracts that every criterion over tokens keeps need to know of it."""

    name: str
    task: str
    arch: str
    settings: dict[str, Any] = field(default_factory=dict)  # of the parent, so that more than its defaults is tested
    own: dict[str, Any] = field(default_factory=dict)  # settings that the parent does not have
    model: dict[str, Any] = field(default_factory=dict)
    reference: Callable[..., RDrop] = of_logits  # models, outputs, target, alpha, kind, settings -> loss
    losses: tuple[str, ...] = ("fused", "plain")

    @property
    def parent(self):
        return self.name.removeprefix("rdrop_")


# 12 words: 6 and two cluster entries in the head, clusters of 2 and 4
ADAPTIVE = {"adaptive_softmax_cutoff": "6,8", "adaptive_softmax_factor": 2}
TIED = {
    **ADAPTIVE, "adaptive_input": True, "adaptive_input_cutoff": "6,8", "adaptive_input_factor": 2,
    "tie_adaptive_weights": True, "tie_adaptive_proj": True,
}  # fmt: skip
LM = ("rdrop_language_modeling", "transformer_lm_big")
CASES = [
    Case("rdrop_label_smoothed_cross_entropy", "rdrop_translation", "transformer", {"label_smoothing": 0.1}),
    Case("rdrop_cross_entropy", *LM),
    Case("rdrop_adaptive_loss", *LM, model=ADAPTIVE, reference=of_adaptive),
    Case("rdrop_adaptive_loss", *LM, model=TIED, reference=of_adaptive),
    Case(
        "rdrop_adaptive_loss", *LM, own={"rdrop_adaptive_divergence": "exact"}, model=ADAPTIVE, reference=of_adaptive,
        losses=("plain",),
    ),
]  # fmt: skip


def dictionary(words="abcdefgh"):
    made = Dictionary()
    for word in words:
        made.add_symbol(word)
    return made


def build_task(name="rdrop_translation", **settings):
    task_class = TASK_REGISTRY[name]
    config = TASK_DATACLASS_REGISTRY[name](**settings)
    if issubclass(task_class, TranslationTask):
        return task_class(config, dictionary(), dictionary())
    if issubclass(task_class, LanguageModelingTask):
        return task_class(config, dictionary())
    raise NotImplementedError(name)


def random_logits(*shape, seed=0):
    """Return normal random numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build_model(task, arch="transformer", seed=1, **settings):
    """Return a model of ``arch`` so small that a step takes milliseconds; with dropout 0.3 if ``settings`` say nothing.

    With the name of a criterion in ``settings`` the task builds it, as in a training.
    """
    layers = 2 if "encoder_layerdrop" in settings else 1  # LayerDrop leaves out whole layers
    sizes = {
        "transformer": dict.fromkeys(("encoder_ffn_embed_dim", "decoder_ffn_embed_dim"), 16)
        | dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
        | {"encoder_layers": layers, "decoder_layers": layers, "max_source_positions": 64, "max_target_positions": 64},
        "transformer_lm_big": {"decoder_ffn_embed_dim": 16, "decoder_attention_heads": 2, "decoder_layers": layers}
        | {"max_target_positions": 64},
        "lstm": {"encoder_hidden_size": 8, "decoder_hidden_size": 8, "decoder_out_embed_dim": 8, "criterion": ""},
        "lstm_lm": {"decoder_hidden_size": 8, "decoder_out_embed_dim": 8, "tokens_per_sample": 64},
        "fconv_lm": {"decoder_layers": "[(8, 3)] * 2", "tokens_per_sample": 64},
    }[arch]
    args = Namespace(arch=arch, **{"encoder_embed_dim": 8, "decoder_embed_dim": 8, "dropout": 0.3} | sizes | settings)
    args.adaptive_softmax_dropout = settings.get("adaptive_softmax_dropout", args.dropout)
    ARCH_CONFIG_REGISTRY[arch](args)
    torch.manual_seed(seed)
    model = task.build_model(args) if "criterion" in settings else ARCH_MODEL_REGISTRY[arch].build_model(args, task)
    if arch == "lstm":  # fairseq starts it so near 0 that its outputs hardly differ
        for parameter in model.parameters():
            parameter.data.mul_(5)
    return model


def build_criterion(name, task, **settings):
    """Through fairseq's own registry; without omegaconf, which would take longer than most tests."""
    known = CRITERION_DATACLASS_REGISTRY[name]
    needed = {"sentence_avg": False, "ddp_backend": "legacy_ddp"}  # of parents that take them from other parts
    config = known(**{key: value for key, value in needed.items() if key in known.__dataclass_fields__} | settings)
    config._name = config.criterion = name
    return task.build_criterion(config)


def make_sample(task, lengths=((5, 4), (4, 6), (2, 3)), seed=1):
    """Return a batch of random sentences; ``lengths`` of (source, target), the end of sentence not counted.

    For a language model the targets alone; what it sees is shifted by one.
    """
    words = torch.Generator().manual_seed(seed)

    def sentence(length):
        drawn = torch.randint(4, len(task.target_dictionary), (length,), generator=words)
        return torch.cat([drawn, torch.tensor([task.target_dictionary.eos()])])

    if isinstance(task, LanguageModelingTask):
        targets = [sentence(t) for _, t in lengths]
        blocks = [{"id": i, "source": target.roll(1), "target": target} for i, target in enumerate(targets)]
        return collate_blocks(blocks, PAD, task.target_dictionary.eos())
    pairs = [{"id": i, "source": sentence(s), "target": sentence(t)} for i, (s, t) in enumerate(lengths)]
    return collate(pairs, pad_idx=PAD, eos_idx=task.target_dictionary.eos())


@dataclass
class Step:
    loss: torch.Tensor
    sample_size: int
    log: dict[str, Any]
    grads: dict[str, torch.Tensor]
    rng_state: torch.Tensor


def train(criterion, model, sample, seed=1):
    """Forward and backward of one batch in training mode."""
    model.train()
    model.zero_grad()
    torch.default_generator.manual_seed(seed)  # torch.manual_seed also walks the call stack, for a GPU
    loss, sample_size, log = criterion(model, sample)
    loss.backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return Step(loss.detach().clone(), sample_size, log, grads, torch.get_rng_state())


def reduced(criterion, logging_outputs):
    """Return the metrics that fairseq shows for these logging outputs."""
    with metrics.aggregate(new_root=True) as shown:
        type(criterion).reduce_metrics(logging_outputs)
    return shown.get_smoothed_values()


def kept_for_backward(loss_function, numel):
    """How many distinct tensors of at least ``numel`` float32 numbers a loss keeps alive until its backward."""

    def is_large(tensor):
        return tensor.untyped_storage().nbytes() >= 4 * numel

    def live():
        gc.collect()
        objects = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
        return {tensor.untyped_storage().data_ptr() for tensor in objects if is_large(tensor)}

    saved = []
    gc.collect()
    gc.freeze()  # so that only objects that are made from here on are looked at

    def pack(tensor):
        saved.append(tensor)  # also keeps the storage, and with it the address, from being used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_function()
    kept = {tensor.untyped_storage().data_ptr() for tensor in saved if is_large(tensor)} | live()
    gc.unfreeze()
    loss.backward()
    return len(kept)


def copies(net_input, passes):
    return {name: torch.cat([tensor] * passes) for name, tensor in net_input.items()}


def bits(nats):
    return float(torch.as_tensor(nats).detach()) / math.log(2)


def assert_same_tree(actual, expected):
    """Equal to the last bit, at any depth: dicts, sequences, tensors, plain values."""
    assert type(actual) is type(expected)
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected:
            assert_same_tree(actual[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected)
        for left, right in zip(actual, expected, strict=True):
            assert_same_tree(left, right)
    elif isinstance(expected, torch.Tensor):
        assert actual.dtype == expected.dtype and torch.equal(actual, expected)
    else:
        assert actual == expected


def assert_grads_close(actual, expected, **tolerance):
    assert actual.keys() == expected.keys() and actual
    for name in expected:
        in_full = functools.partial("{}: {}".format, name)
        torch.testing.assert_close(actual[name], expected[name], msg=in_full, **tolerance)


class LogitsModel(torch.nn.Module):
    """A model whose logits ``[M * B, T, V]`` are its only parameter, with what a criterion calls of fairseq's API."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits.clone())

    def forward(self, src_tokens, **net_input):
        assert len(src_tokens) == len(self.logits)
        return self.logits, None

    def get_normalized_probs(self, net_output, log_probs, sample=None):
        assert log_probs
        return net_output[0].log_softmax(-1)

    def get_targets(self, sample, net_output):
        return sample["target"]
