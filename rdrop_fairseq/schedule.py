"""The weight of the divergence at each update: constant, late, raised or lowered, or only on every K-th update."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AlphaSchedule:
    """The weight ``alpha`` of R-Drop's divergence as a function of the update.

    Attributes:
        alpha: the weight after the warm-up, >= 0.
        every: K >= 1; only every K-th update (the K-th, the 2K-th, ...) gets a weight above 0.
        warmup_updates: N >= 0; the weight rises linearly from 0 at the first update to ``alpha`` after N updates. The
            updates that ``every`` leaves out count too.
        start_update: S >= 0; the first S updates get the weight 0, and the warm-up counts from there.
        decay_updates: D >= 0; if above 0, the weight falls linearly from ``alpha`` at the end of the warm-up to 0 after
            D more updates, and stays 0.
    """

    alpha: float
    every: int = 1
    warmup_updates: int = 0
    start_update: int = 0
    decay_updates: int = 0

    def __call__(self, num_updates: int) -> float:
        """Return the weight for the update after ``num_updates`` finished ones (0 for the first update)."""
        since_start = num_updates - self.start_update
        if since_start < 0 or (num_updates + 1) % self.every != 0:
            return 0.0
        if since_start < self.warmup_updates:
            return self.alpha * since_start / self.warmup_updates
        if self.decay_updates:
            return self.alpha * max(0.0, 1 - (since_start - self.warmup_updates) / self.decay_updates)
        return self.alpha
