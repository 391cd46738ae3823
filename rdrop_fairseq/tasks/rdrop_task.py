"""What every R-Drop task shares: it tells the criterion the number of the update, and resumes with the same batches."""

from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any

from fairseq.dataclass import FairseqDataclass
from omegaconf import II

from rdrop_fairseq.compat.epoch_iterator import make_shared
from rdrop_fairseq.compat.task_and_criterion import ChecksModel, TellsNumUpdates


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


class RDropTask(TellsNumUpdates):
    """Make a fairseq task an R-Drop task: inherit from both, this first."""

    cfg: Any
    args: Any
    model_to_train: Any = None
    takes_unlabeled = False  # whether the criterion has a weight for what has no label

    @property
    def settings(self) -> Any:
        """Return the task's configuration: fairseq's older tasks keep it in ``args``, its newer ones in ``cfg``."""
        return self.args if self.cfg is None else self.cfg

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Return the parent's model, and keep it until the criterion is built, which fairseq-train does next.

        Some models (lstm, lstm_lm, fconv_lm) build an adaptive softmax only if their settings name fairseq's criterion
        for it. So an R-Drop criterion has its parent's name there, and in checkpoints too: any task can load those.
        """
        if isinstance(cfg, Namespace) and isinstance(getattr(cfg, "criterion", None), str):
            cfg.criterion = cfg.criterion.removeprefix("rdrop_")
        self.model_to_train = super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
        return self.model_to_train

    def build_criterion(self, *args: Any, **kwargs: Any) -> Any:
        """Return the parent's criterion; an R-Drop one exits before data is loaded if it does not fit the model."""
        criterion = super().build_criterion(*args, **kwargs)  # type: ignore[misc]
        self.takes_unlabeled = getattr(criterion, "takes_unlabeled", False)
        model, self.model_to_train = self.model_to_train, None
        if model is not None and isinstance(criterion, ChecksModel):
            criterion.check_model(model)
        return criterion

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        """Tell the criterion ``update_num`` and return the result of the parent's training step."""
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
        """Return the parent's iterator, over batches that do not depend on the epoch in which the run was started.

        Where fairseq uses one iterator in all epochs, it draws the batches only once, with ``seed + epoch``, when a run
        starts. So a run that resumes in a later epoch would get other batches than the uninterrupted run. Here they
        are always those of a start in epoch 1. The order in which an epoch takes the batches is drawn later, from the
        iterator's own seed, as fairseq does it. Where fairseq draws new batches in every epoch, nothing changes.
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
        make_shared(iterator)
        return iterator
