"""The head with one output projection, forward and backward: R-Drop's losses and their peers."""

import functools
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from unittest import mock

import torch
import torch.nn.functional as F
from fairseq import utils
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss
from fairseq.criterions.label_smoothed_cross_entropy_with_rdrop import compute_kl_loss
from measure import DEVICE, DTYPES, Facts, Step
from torch import Tensor

from rdrop_fairseq import fused as fused_module
from rdrop_fairseq.divergence import divergence
from rdrop_fairseq.fused import linear_rdrop_loss

ALPHA, EPSILON, PAD = 5.0, 0.1, 1
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # hidden [2, N, D], weight [V, D], target [N] -> loss


def logits_of(hidden: Tensor, weight: Tensor) -> Tensor:
    """Return the output projection of all copies."""
    return F.linear(hidden.flatten(0, 1), weight)


def cross_entropy(lprobs: Tensor, target: Tensor) -> Tensor:
    """Return fairseq's label-smoothed cross-entropy of both copies."""
    loss: Tensor = label_smoothed_nll_loss(lprobs, torch.cat([target] * 2), EPSILON, ignore_index=PAD)[0]
    return loss


def plain_cross_entropy(hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Return fairseq's cross-entropy of the batch doubled."""
    return cross_entropy(utils.log_softmax(logits_of(hidden, weight), dim=-1), target)


def torch_cross_entropy(hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Return PyTorch's projection and cross-entropy in one function, which spreads the smoothing over V words."""
    return F.linear_cross_entropy(
        hidden.flatten(0, 1), weight, torch.cat([target] * 2), reduction="sum", label_smoothing=EPSILON
    )


def published(hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Return the loss as its authors compute it, with log_softmax once more and softmax for the divergence."""
    logits = logits_of(hidden, weight)
    loss = cross_entropy(utils.log_softmax(logits, dim=-1), target)
    (lp, lq), (p, q) = utils.log_softmax(logits, dim=-1).chunk(2), utils.softmax(logits, dim=-1).chunk(2)
    pad = target.eq(PAD).unsqueeze(-1)
    kl = sum(F.kl_div(a, b, reduction="none").masked_fill(pad, 0.0).sum() for a, b in ((lp, q), (lq, p)))
    return loss + ALPHA * kl / 2


def of_fairseq(hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Return the loss of fairseq's criterion label_smoothed_cross_entropy_with_rdrop."""
    softmax = {True: utils.log_softmax, False: utils.softmax}
    model = SimpleNamespace(get_normalized_probs=lambda logits, log_probs: softmax[log_probs](logits, dim=-1))
    logits = logits_of(hidden, weight)
    loss = cross_entropy(model.get_normalized_probs(logits, log_probs=True), target)
    return loss + ALPHA * compute_kl_loss(model, logits, target.eq(PAD).unsqueeze(-1))


def plain(hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Return the loss of --rdrop-loss plain."""
    lprobs = utils.log_softmax(logits_of(hidden, weight), dim=-1)
    kl_loss = divergence(lprobs.unflatten(0, (2, -1))).masked_fill(target.eq(PAD), 0)
    return cross_entropy(lprobs, target) + ALPHA * kl_loss.sum()


def fused(hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Return the loss of --rdrop-loss fused."""
    return linear_rdrop_loss(
        hidden.flatten(0, 1), weight, target, ALPHA,
        label_smoothing=EPSILON, label_smoothing_impl="fairseq", ignore_index=PAD, reduction="sum",
    ).loss  # fmt: skip


def fused_by_torch(hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Return the fused loss without the kernel for GPUs, in torch's own operations, as a CPU computes it."""
    with mock.patch.object(fused_module, "choose_elementwise", lambda *_: fused_module.fused_torch):
        return fused(hidden, weight, target)


BARE, FUSED, PUBLISHED = "bare products", "R-Drop, fused", "R-Drop, published formula"
LOSSES: dict[str, Loss] = {
    "cross-entropy, doubled batch": plain_cross_entropy,
    "R-Drop, fairseq's criterion": of_fairseq,
    PUBLISHED: published,
    "R-Drop, plain": plain,
    FUSED: fused,
}
if hasattr(F, "linear_cross_entropy"):
    LOSSES = {"torch's linear_cross_entropy, doubled batch": torch_cross_entropy, **LOSSES}
if torch.cuda.is_available():
    LOSSES |= {"R-Drop, fused, torch's operations": fused_by_torch}


def steps(size: Facts, names: Iterable[str]) -> tuple[dict[str, Step], list[Tensor]]:
    """Return BARE and the losses among the names, each with its backward pass, and the tensors that get gradients."""
    generator = torch.Generator(DEVICE).manual_seed(1)
    tokens, vocab, width, dtype = size["tokens"], size["vocab"], size["width"], DTYPES[size["dtype"]]
    hidden = torch.randn(2, tokens, width, generator=generator, device=DEVICE)
    weight = torch.randn(vocab, width, generator=generator, device=DEVICE) * width**-0.5
    target = torch.randint(2, vocab, (tokens,), generator=generator, device=DEVICE)
    hidden, weight = hidden.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_()

    def step(loss: Loss) -> None:
        hidden.grad = weight.grad = None
        loss(hidden, weight, target).backward()

    bare = products([(hidden.detach().flatten(0, 1), weight.detach())])
    return {name: bare if name == BARE else functools.partial(step, LOSSES[name]) for name in names}, [hidden, weight]


def products(layers: Iterable[tuple[Tensor, Tensor]]) -> Step:
    """Return the matrix products of forward and backward for layers, each given by its inputs and its weight."""

    def step() -> None:
        for inputs, weight in layers:
            logits = inputs @ weight.t()
            torch.mm(logits, weight)
            torch.mm(logits.t(), inputs)

    return step
