"""The head of a WikiText-103 model with adaptive softmax, for loss.py: its loss in several ways, and the bare products.

Vocabulary, cutoffs, width and tail factor are those of fairseq's transformer_lm_wiki103 on WikiText-103. The targets
are drawn by Zipf's law, the n-th word with a probability in proportion to 1 / n, which decides how many tokens each
cluster gets. No dropout.
"""

from collections.abc import Callable
from typing import Any

import torch
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.data import Dictionary
from fairseq.modules.adaptive_softmax import AdaptiveSoftmax
from fairseq.tasks.language_modeling import LanguageModelingConfig
from measure import DTYPES
from omegaconf import OmegaConf
from torch import Tensor, nn

from rdrop_fairseq.passes import repeat_batch
from rdrop_fairseq.tasks.rdrop_language_modeling import RDropLanguageModelingTask

VOCAB, CUTOFFS, WIDTH, FACTOR = 267_744, (20_000, 60_000), 1024, 4
QUICK = {"vocab": 2_000, "cutoffs": (200, 600), "width": 64}

OF_FAIRSEQ, PLAIN, FUSED, EXACT = (
    "fairseq's adaptive_loss, doubled batch",
    "R-Drop, adaptive, plain",
    "R-Drop, adaptive, fused",
    "R-Drop, adaptive, exact divergence",
)
OURS = "rdrop_adaptive_loss"
CRITERIONS: dict[str, tuple[str, dict[str, Any]]] = {
    OF_FAIRSEQ: ("adaptive_loss", {}),
    PLAIN: (OURS, {"rdrop_loss": "plain"}),
    FUSED: (OURS, {"rdrop_loss": "fused"}),
    EXACT: (OURS, {"rdrop_adaptive_divergence": "exact"}),
}


def size_of(tokens: int, dtype: str, quick: bool) -> dict[str, Any]:
    size = {"vocab": VOCAB, "cutoffs": CUTOFFS, "width": WIDTH} | (QUICK if quick else {})
    return {**size, "tokens": tokens, "dtype": dtype, "adaptive": True}


class Features(nn.Module):
    """A model that returns the features ``[2, N, D]`` it was given and has an adaptive softmax."""

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


def model_and_sample(size: dict[str, Any], device: str) -> tuple[Features, dict[str, Any]]:
    generator = torch.Generator(device).manual_seed(1)
    torch.manual_seed(1)
    ranks = torch.arange(1, size["vocab"] + 1, device=device)
    target = torch.multinomial(1.0 / ranks, size["tokens"], replacement=True, generator=generator).unsqueeze(0)
    hidden = torch.randn(2, size["tokens"], size["width"], generator=generator, device=device)
    softmax = AdaptiveSoftmax(size["vocab"], size["width"], list(size["cutoffs"]), dropout=0.0, factor=FACTOR)
    model = Features(hidden, softmax.to(device)).to(DTYPES[size["dtype"]])
    return model, {"net_input": {"src_tokens": target}, "target": target, "ntokens": size["tokens"]}


def adaptive_step(name: str, model: Features, sample: dict[str, Any]) -> Callable[[], None]:
    """Loss and backward by the criterion of that name."""
    registered, settings = CRITERIONS[name]
    known = CRITERION_DATACLASS_REGISTRY[registered]
    config = OmegaConf.structured(known(sentence_avg=False, ddp_backend="legacy_ddp", **settings))
    config._name = registered
    criterion = RDropLanguageModelingTask(LanguageModelingConfig(), Dictionary()).build_criterion(config)
    seen = repeat_batch(sample, 2) if name == OF_FAIRSEQ else sample

    def step() -> None:
        model.zero_grad()
        criterion(model, seen)[0].backward()

    return step


def bare_products(model: Features, sample: dict[str, Any]) -> Callable[[], None]:
    """The matrix products that any loss over these clusters needs: of each layer the three of its forward and backward,
    the tails on the tokens of their cluster alone."""
    softmax = model.decoder.adaptive_softmax
    assert isinstance(softmax, AdaptiveSoftmax)
    states = model.hidden.detach().flatten(0, 1)
    _, rows = softmax.adapt_target(torch.cat([sample["target"]] * 2))
    layers = [(states, softmax.head.weight.detach())]
    for tail, at in zip(softmax.tail, rows, strict=True):
        if at is not None:
            layers.append((states[at], tail[0].weight.detach()))
            layers.append((tail[0](states[at]).detach(), tail[2].weight.detach()))

    def step() -> None:
        for inputs, matrix in layers:
            logits = inputs @ matrix.t()
            torch.mm(logits, matrix)
            torch.mm(logits.t(), inputs)

    return step
