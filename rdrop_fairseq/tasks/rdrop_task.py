"""What every R-Drop task shares: it tells the criterion the number of the update, and resumes with the same batches."""

import os
from typing import Any

from fairseq.data.iterators import EpochBatchIterator

from rdrop_fairseq.tasks.shared_epoch_iterator import SharedEpochIterator

# Set in the environment: training ends where a batch does not fit into memory. fairseq's trainer would skip the batch,
# save checkpoints as if it had trained on it, and go on.
END_WHEN_OUT_OF_MEMORY = "RDROP_END_WHEN_OUT_OF_MEMORY"


class RDropTask:
    """Mixed in before a fairseq task; the criterion's schedule of alpha reads the update from ``num_updates``."""

    tells_num_updates = True
    model_to_train: Any = None

    def build_model(self, *args: Any, **kwargs: Any) -> Any:
        """The parent's model, kept until the criterion is built: fairseq-train builds that next."""
        self.model_to_train = super().build_model(*args, **kwargs)  # type: ignore[misc]
        return self.model_to_train

    def build_criterion(self, *args: Any, **kwargs: Any) -> Any:
        """The parent's criterion; an R-Drop one exits, before data is loaded, where it is not for the model."""
        criterion = super().build_criterion(*args, **kwargs)  # type: ignore[misc]
        model, self.model_to_train = self.model_to_train, None
        if model is not None and hasattr(criterion, "check_model"):
            criterion.check_model(model)
        return criterion

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        """The parent's training step, after the criterion was told ``update_num``."""
        criterion.num_updates = update_num
        try:
            return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)  # type: ignore[misc]
        except RuntimeError as error:
            if END_WHEN_OUT_OF_MEMORY in os.environ and "out of memory" in str(error):  # which the trainer looks for
                raise RuntimeError("a batch does not fit into memory") from error
            raise

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
        if type(iterator) is EpochBatchIterator:  # fairseq makes it itself, and may give the same one again
            iterator.__class__ = SharedEpochIterator
        return iterator
