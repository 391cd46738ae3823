"""The head of a WikiText-103 model with adaptive softmax, forward and backward: its loss in several ways.

Vocabulary, cutoffs, width and tail factor are those of fairseq's transformer_lm_wiki103 on WikiText-103. Targets are
drawn by Zipf's law: the n-th word has a probability in proportion to 1 / n, which decides how many tokens each cluster
gets. There is no dropout.
"""

import functools
from collections.abc import Iterable
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.modules.adaptive_softmax import AdaptiveSoftmax
from fairseq.tasks.language_modeling import LanguageModelingConfig
from linear_head import BARE, products
from measure import DEVICE, DTYPES, Facts, Step
from step import make_criterion
from torch import Tensor, nn

from rdrop_fairseq.passes import repeat_batch
from rdrop_fairseq.tasks.rdrop_language_modeling import RDropLanguageModelingTask

FACTOR = 4
SIZE = {"vocab": 267_744, "cutoffs": (20_000, 60_000), "width": 1024, "adaptive": True}
QUICK = {"vocab": 2_000, "cutoffs": (200, 600), "width": 64, "adaptive": True}

OF_FAIRSEQ, EXACT = "fairseq's adaptive_loss, doubled batch", "R-Drop, adaptive, exact divergence"
OURS = "rdrop_adaptive_loss"
CRITERIONS: dict[str, tuple[str, dict[str, Any]]] = {
    OF_FAIRSEQ: ("adaptive_loss", {}),
    "R-Drop, adaptive, plain": (OURS, {"rdrop_loss": "plain"}),
    "R-Drop, adaptive, fused": (OURS, {"rdrop_loss": "fused"}),
    EXACT: (OURS, {"rdrop_adaptive_divergence": "exact"}),
}


class Features(nn.Module):
    """A model that returns the features ``[2, N, D]`` that it was given and has an adaptive softmax."""

    def __init__(self, hidden: Tensor, softmax: AdaptiveSoftmax) -> None:
        super().__init__()
        self.hidden = nn.Parameter(hidden)
        self.decoder = nn.Module()
        self.decoder.adaptive_softmax = softmax

    def forward(self, src_tokens: Tensor) -> tuple[Tensor, None]:
        return self.hidden, None

    def get_targets(self, sample: dict[str, Any], net_output: Any) -> Tensor:
        target: Tensor = sample["target"]
        return target


def steps(size: Facts, names: Iterable[str]) -> tuple[dict[str, Step], list[Tensor]]:
    """Return BARE and the losses among the names, each with its backward pass, and the tensors that get gradients."""
    generator = torch.Generator(DEVICE).manual_seed(1)
    torch.manual_seed(1)
    tokens, vocab, width = size["tokens"], size["vocab"], size["width"]
    ranks = torch.arange(1, vocab + 1, device=DEVICE)
    target = torch.multinomial(1.0 / ranks, tokens, replacement=True, generator=generator).unsqueeze(0)
    hidden = torch.randn(2, tokens, width, generator=generator, device=DEVICE)
    softmax = AdaptiveSoftmax(vocab, width, list(size["cutoffs"]), dropout=0.0, factor=FACTOR)
    model = Features(hidden, softmax.to(DEVICE)).to(DTYPES[size["dtype"]])
    sample = {"net_input": {"src_tokens": target}, "target": target, "ntokens": tokens}
    task = RDropLanguageModelingTask(LanguageModelingConfig(), Dictionary())

    def step(criterion: Any, seen: dict[str, Any]) -> None:
        model.zero_grad()
        criterion(model, seen)[0].backward()

    def step_of(name: str) -> Step:
        registered, settings = CRITERIONS[name]
        criterion = make_criterion(task, registered, ddp_backend="legacy_ddp", **settings)
        return functools.partial(step, criterion, repeat_batch(sample, 2) if name == OF_FAIRSEQ else sample)

    made = {name: bare_products(model, target) if name == BARE else step_of(name) for name in names}
    return made, list(model.parameters())


def bare_products(model: Features, target: Tensor) -> Step:
    """Return the matrix products that any loss needs here; a tail sees only the tokens of its cluster."""
    softmax = model.decoder.adaptive_softmax
    assert isinstance(softmax, AdaptiveSoftmax)
    states = model.hidden.detach().flatten(0, 1)
    _, rows = softmax.adapt_target(torch.cat([target] * 2))
    layers = [(states, softmax.head.weight.detach())]
    for tail, at in zip(softmax.tail, rows, strict=True):
        if at is not None:
            layers.append((states[at], tail[0].weight.detach()))
            layers.append((tail[0](states[at]).detach(), tail[2].weight.detach()))
    return products(layers)
