"""The weight of the divergence at each update: constant, raised in a warm-up, or only on every K-th update."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AlphaSchedule:
    """The weight ``alpha`` of R-Drop's divergence as a function of the update.

    Attributes:
        alpha: the weight after the warm-up, >= 0.
        every: K >= 1; only every K-th update (the K-th, the 2K-th, ...) gets a weight above 0.
        warmup_updates: N >= 0; the weight rises linearly from 0 at the first update to ``alpha`` after N updates. The
            updates that ``every`` leaves out count too.
    """

    alpha: float
    every: int = 1
    warmup_updates: int = 0

    def __call__(self, num_updates: int) -> float:
        """Return the weight for the update after ``num_updates`` finished ones (0 for the first update)."""
        if (num_updates + 1) % self.every != 0:
            return 0.0
        if num_updates < self.warmup_updates:
            return self.alpha * num_updates / self.warmup_updates
        return self.alpha
