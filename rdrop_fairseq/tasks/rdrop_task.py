"""What every R-Drop task shares: it tells the criterion the number of the update."""

from typing import Any


class RDropTask:
    """Mixed in before a fairseq task; the criterion's schedule of alpha reads the update from ``num_updates``."""

    tells_num_updates = True

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        """The parent's training step, after the criterion was told ``update_num``."""
        criterion.num_updates = update_num
        return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)  # type: ignore[misc]
