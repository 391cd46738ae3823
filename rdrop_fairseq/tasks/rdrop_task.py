"""What every R-Drop task shares: it tells the criterion the number of the update, and resumes with the same batches."""

from typing import Any

from rdrop_fairseq.criterions.output_projection import has_adaptive_softmax
from rdrop_fairseq.criterions.rdrop_criterion import RDropCriterion


class RDropTask:
    """Mixed in before a fairseq task; the criterion's schedule of alpha reads the update from ``num_updates``."""

    tells_num_updates = True
    adaptive: bool | None = None  # whether the model that was built has adaptive softmax

    def build_model(self, *args: Any, **kwargs: Any) -> Any:
        """The parent's model; what its output layer is, is kept for ``build_criterion``."""
        model = super().build_model(*args, **kwargs)  # type: ignore[misc]
        self.adaptive = has_adaptive_softmax(model)
        return model

    def build_criterion(self, *args: Any, **kwargs: Any) -> Any:
        """The parent's criterion; exits, before data is loaded, if it is not for the model that was built."""
        criterion = super().build_criterion(*args, **kwargs)  # type: ignore[misc]
        if isinstance(criterion, RDropCriterion) and self.adaptive is not None:
            criterion.check_softmax(self.adaptive)
        return criterion

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        """The parent's training step, after the criterion was told ``update_num``."""
        criterion.num_updates = update_num
        return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)  # type: ignore[misc]

    def get_batch_iterator(self, dataset: Any, *args: Any, seed: int = 1, epoch: int = 1, **kwargs: Any) -> Any:
        """The parent's iterator over batches that do not depend on the epoch in which the run was started.

        fairseq draws the batches with ``seed + epoch`` once, when a run starts: a run that resumes in a later epoch
        would go on with other batches than the uninterrupted one. Here they are those of a start in epoch 1; the order
        in which an epoch takes them is drawn later, from the iterator's own seed, as ever.
        """
        started = 1 if not kwargs.get("update_epoch_batch_itr") else epoch  # which draws them anew in every epoch
        iterator = super().get_batch_iterator(  # type: ignore[misc]
            dataset, *args, seed=seed + started - epoch, epoch=epoch, **kwargs
        )
        iterator.seed = seed
        return iterator
