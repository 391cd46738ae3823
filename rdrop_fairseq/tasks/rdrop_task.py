"""What every R-Drop task shares: it tells the criterion the number of the update, and resumes with the same batches."""

from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any

from fairseq.data.iterators import EpochBatchIterator
from fairseq.dataclass import FairseqDataclass
from omegaconf import II

from rdrop_fairseq.tasks.shared_epoch_iterator import SharedEpochIterator


@dataclass
class RDropTaskConfig(FairseqDataclass):
    """What an R-Drop task reads besides its parent's settings."""

    rdrop_end_when_out_of_memory: bool = field(
        default=False,
        metadata={
            "help": "end the training when a batch does not fit into memory, instead of skipping the batch as fairseq "
            "does, which saves checkpoints as if the model had been trained on it"
        },
    )
    update_ordered_indices_seed: bool = II("dataset.update_ordered_indices_seed")  # fairseq's own setting, no new flag


class RDropTask:
    """Mixed in before a fairseq task; the criterion's schedule of alpha reads the update from ``num_updates``."""

    cfg: Any
    args: Any
    tells_num_updates = True
    model_to_train: Any = None

    @property
    def settings(self) -> Any:
        """Return the task's configuration, which fairseq's older tasks keep in ``args`` and its newer ones in ``cfg``."""
        return self.args if self.cfg is None else self.cfg

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """The parent's model, kept until the criterion is built: fairseq-train builds that next.

        Some models (lstm, lstm_lm, fconv_lm) build an adaptive softmax only if the criterion is named as fairseq's. In
        their settings an R-Drop criterion goes by its parent's name, in checkpoints too: any task can load those.
        """
        if isinstance(cfg, Namespace) and isinstance(getattr(cfg, "criterion", None), str):
            cfg.criterion = cfg.criterion.removeprefix("rdrop_")
        self.model_to_train = super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
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
            # The trainer skips the batch if it finds "out of memory" in the message.
            if self.settings.rdrop_end_when_out_of_memory and "out of memory" in str(error):
                raise RuntimeError("a batch does not fit into memory") from error
            raise

    def get_batch_iterator(
        self,
        dataset: Any,
        *args: Any,
        seed: int = 1,
        epoch: int = 1,
        disable_iterator_cache: bool = False,
        update_epoch_batch_itr: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The parent's iterator over batches that do not depend on the epoch in which the run was started.

        Where fairseq goes on with one iterator in all epochs, it draws the batches with ``seed + epoch`` once, when a
        run starts: a run that resumes in a later epoch would go on with other batches than the uninterrupted one. Here
        they are those of a start in epoch 1; the order in which an epoch takes them is drawn later, from the iterator's
        own seed, as ever. Where fairseq draws the batches anew in every epoch, they are fairseq's.
        """
        reused = not disable_iterator_cache and not update_epoch_batch_itr and self.can_reuse_epoch_itr(dataset)  # type: ignore[attr-defined]
        if reused and self.settings.update_ordered_indices_seed is True:  # then the seed grows with the epoch
            seed += 1 - epoch
        iterator = super().get_batch_iterator(  # type: ignore[misc]
            dataset,
            *args,
            seed=seed + 1 - epoch if reused else seed,
            epoch=epoch,
            disable_iterator_cache=disable_iterator_cache,
            update_epoch_batch_itr=update_epoch_batch_itr,
            **kwargs,
        )
        iterator.seed = seed
        if type(iterator) is EpochBatchIterator:  # fairseq makes it itself, and may give the same one again
            iterator.__class__ = SharedEpochIterator
        return iterator
