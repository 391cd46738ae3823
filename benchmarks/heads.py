"""The output layer of a model alone, forward and backward: the losses of step.py, and further peers.

The features that it gets are random, and there is no dropout. Vocabulary, cutoffs, width and tail factor of the
adaptive softmax are those of fairseq's transformer_lm_wiki103 on WikiText-103. Its targets are drawn by Zipf's law: the
n-th word has a probability in proportion to 1 / n, which decides how many tokens each cluster gets.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from fairseq import utils
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss
from fairseq.data import Dictionary
from fairseq.models import FairseqDecoder, FairseqLanguageModel
from fairseq.models.transformer import TransformerDecoder
from fairseq.modules.adaptive_softmax import AdaptiveSoftmax
from fairseq.tasks.language_modeling import LanguageModelingConfig
from measure import DEVICE, DTYPES, Facts, Step
from step import ADAPTIVE_LM, FUSED, OF_FAIRSEQ, PLAIN, PLAIN_CE, TRANSLATION, criterions, make_criterion
from torch import Tensor, nn

from rdrop_fairseq import fused
from rdrop_fairseq.passes import repeat_batch
from rdrop_fairseq.tasks.rdrop_language_modeling import RDropLanguageModelingTask

ALPHA, EPSILON, PAD = 5.0, 0.1, 1
FACTOR = 4
SIZE = {"vocab": 267_744, "cutoffs": (20_000, 60_000), "width": 1024}
QUICK = {"vocab": 2_000, "cutoffs": (200, 600), "width": 64}

BARE, PUBLISHED, EXACT = "bare products", "R-Drop, published formula", "R-Drop, exact divergence"
OF_TORCH, BY_TORCH = "torch's linear_cross_entropy, doubled batch", "R-Drop, fused, torch's operations"
LINEAR = [PLAIN_CE, OF_FAIRSEQ, PUBLISHED, PLAIN, FUSED]
if hasattr(F, "linear_cross_entropy"):
    LINEAR.insert(0, OF_TORCH)
if torch.cuda.is_available():
    LINEAR.append(BY_TORCH)
ADAPTIVE = [PLAIN_CE, PLAIN, FUSED, EXACT]


class OutputLayer(TransformerDecoder):
    """A decoder whose features are the tensor ``[2, N, D]`` that it was given; with cutoffs it has adaptive softmax."""

    def __init__(self, hidden: Tensor, vocab: int, cutoffs: Iterable[int]) -> None:
        FairseqDecoder.__init__(self, Dictionary())
        self.hidden, width = nn.Parameter(hidden), hidden.size(-1)
        if cutoffs:
            self.adaptive_softmax = AdaptiveSoftmax(vocab, width, list(cutoffs), dropout=0.0, factor=FACTOR)
        else:
            self.output_projection = nn.Linear(width, vocab, bias=False)
            nn.init.normal_(self.output_projection.weight, std=width**-0.5)

    def extract_features(self, *_: Any, **__: Any) -> tuple[Tensor, None]:
        return self.hidden, None


def published(model: Any, sample: Facts) -> Tensor:
    """Return the loss as its authors compute it, with log_softmax once more and softmax for the divergence."""
    logits, target = model(**sample["net_input"])[0], sample["target"]
    lprobs = utils.log_softmax(logits, dim=-1)
    loss: Tensor = label_smoothed_nll_loss(lprobs, torch.cat([target] * 2), EPSILON, ignore_index=PAD)[0]
    (lp, lq), (p, q) = utils.log_softmax(logits, dim=-1).chunk(2), utils.softmax(logits, dim=-1).chunk(2)
    pad = target.eq(PAD).unsqueeze(-1)
    kl = sum(F.kl_div(a, b, reduction="none").masked_fill(pad, 0.0).sum() for a, b in ((lp, q), (lq, p)))
    return loss + ALPHA * kl / 2


def torch_cross_entropy(model: Any, sample: Facts) -> Tensor:
    """Return PyTorch's projection and cross-entropy in one function, which spreads the smoothing over V words."""
    target = torch.cat([sample["target"]] * 2).flatten()
    states, weight = model.decoder.hidden.flatten(0, 1), model.decoder.output_projection.weight
    return F.linear_cross_entropy(states, weight, target, reduction="sum", label_smoothing=EPSILON)


FUNCTIONS: dict[str, Callable[[Any, Facts], Tensor]] = {PUBLISHED: published, OF_TORCH: torch_cross_entropy}


def steps(size: Facts, names: Iterable[str]) -> tuple[dict[str, Step], list[Tensor]]:
    """Return BARE and the losses among the names, each with its backward pass, and the tensors that get gradients."""
    tokens, vocab, cutoffs = size["tokens"], size["vocab"], size.get("cutoffs", ())
    torch.manual_seed(1)
    target = torch.randint(2, vocab, (1, tokens), device=DEVICE)
    if cutoffs:
        ranks = torch.arange(1, vocab + 1, device=DEVICE)
        target = torch.multinomial(1.0 / ranks, tokens, replacement=True).unsqueeze(0)
    decoder = OutputLayer(torch.randn(2, tokens, size["width"]), vocab, cutoffs)
    model = FairseqLanguageModel(decoder).to(DEVICE, DTYPES[size["dtype"]])
    sample = {"net_input": {"src_tokens": target}, "target": target, "ntokens": tokens}
    task = RDropLanguageModelingTask(LanguageModelingConfig(), Dictionary())
    made = criterions(ADAPTIVE_LM if cutoffs else TRANSLATION, task)
    made[BY_TORCH] = made[FUSED]
    exact = {"rdrop_adaptive_divergence": "exact", "ddp_backend": "legacy_ddp"}
    made[EXACT] = make_criterion(task, "rdrop_adaptive_loss", **exact)

    def step(name: str) -> None:
        model.zero_grad()
        if name in FUNCTIONS:
            loss = FUNCTIONS[name](model, sample)
        else:
            seen = repeat_batch(sample, 2) if name == PLAIN_CE else {**sample, "net_input": dict(sample["net_input"])}
            # Without the kernel for GPUs, the fused loss is computed as on a CPU.
            by_torch = mock.patch.object(fused, "choose_elementwise", lambda *_: fused.fused_torch)
            with by_torch if name == BY_TORCH else contextlib.nullcontext():
                loss = made[name](model, seen)[0]
        loss.backward()

    bare = functools.partial(products, layers(decoder, target) if BARE in names else [])
    return {name: bare if name == BARE else functools.partial(step, name) for name in names}, list(model.parameters())


def layers(decoder: OutputLayer, target: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return inputs and weight of each matrix product; a tail of adaptive softmax sees the tokens of its cluster."""
    states, softmax = decoder.hidden.detach().flatten(0, 1), decoder.adaptive_softmax
    if softmax is None:
        return [(states, decoder.output_projection.weight.detach())]
    _, rows = softmax.adapt_target(torch.cat([target] * 2))
    found = [(states, softmax.head.weight.detach())]
    for tail, at in zip(softmax.tail, rows, strict=True):
        if at is not None:
            found.append((states[at], tail[0].weight.detach()))
            found.append((tail[0](states[at]).detach(), tail[2].weight.detach()))
    return found


def products(layers: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Compute the matrix products of forward and backward that any loss needs."""
    for inputs, weight in layers:
        logits = inputs @ weight.t()
        torch.mm(logits, weight)
        torch.mm(logits.t(), inputs)
