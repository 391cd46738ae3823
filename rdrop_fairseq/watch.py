"""Notice that the passes of a model are equal, so that R-Drop has no effect: torch only."""

import warnings

import torch
from torch import Tensor

# R-Drop has no effect if the divergence, in nats, stays below the first number over as many batches as the second says.
NO_DIVERGENCE, WATCHED_BATCHES = 1e-6, 100


class Watch:
    """Tell, once, whether the divergence of the first batches stayed near 0.

    A single batch tells little: a model whose last layer starts at 0 gives equal outputs in its first update.

    Attributes:
        batches: how many more batches are watched.
    """

    def __init__(self) -> None:
        self.batches = WATCHED_BATCHES
        self.seen: Tensor | float = 0.0
        self.count: Tensor | float = 0.0

    def has_no_effect(self, kl_loss: Tensor, count: Tensor | int) -> bool:
        """Return True at the last watched batch if the divergence was near 0 in all of them, otherwise False.

        Args:
            kl_loss: the divergence of this batch, in nats; it is summed up.
            count: how many positions it is the sum of.
        """
        if not self.batches:
            return False
        # Both stay tensors until the last of these batches: to read a number would wait for the GPU.
        self.seen = kl_loss.detach().sum() + _beside(self.seen, kl_loss)
        self.count = count + _beside(self.count, kl_loss)
        self.batches -= 1
        return not self.batches and bool(self.seen < NO_DIVERGENCE * self.count)


_OF_THIS_PROCESS = Watch()


def warn_if_no_effect(kl_loss: Tensor, count: Tensor | int) -> None:
    """Warn, once in a process, if the divergence of the first batches that it trains on stayed near 0."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling() and _OF_THIS_PROCESS.has_no_effect(kl_loss, count):
        warnings.warn(
            f"R-Drop has no effect: in the first {WATCHED_BATCHES} batches the divergence between the passes is below "
            f"{NO_DIVERGENCE:g} nats; the model needs dropout, and training mode (model.train())",
            stacklevel=3,
        )


def _beside(value: Tensor | float, other: Tensor) -> Tensor | float:
    """Return the value on the device of the other tensor."""
    return value.to(other.device) if isinstance(value, Tensor) else value
