"""Let an epoch go on after a checkpoint on another number of processes or with batches of another size."""

from typing import Any

from fairseq.data.iterators import EpochBatchIterator


class SharedEpochIterator(EpochBatchIterator):
    """fairseq's iterator over an epoch, with a state that says among how many processes the epoch was shared.

    fairseq's own state holds only the number of batches that one process has taken. A run that resumes on another
    number of processes, or with batches of another size, would go on at another place of the epoch, or fail because
    that place is behind the end.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return fairseq's state, the number of processes and the number of batches in the whole epoch."""
        return {**super().state_dict(), "num_shards": self.num_shards, "num_batches": len(self.frozen_batches)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the place of the epoch that the state describes.

        With the same batches, this is exactly the next batch. A state of fairseq's own iterator is taken as it is.
        """
        if "num_shards" in state_dict:
            done = state_dict["iterations_in_epoch"] * state_dict["num_shards"] * len(self.frozen_batches)
            position = done // (state_dict["num_batches"] * self.num_shards)
            state_dict = {**state_dict, "iterations_in_epoch": position}
        super().load_state_dict(state_dict)


def make_shared(iterator: Any) -> None:
    """Turn fairseq's own iterator over an epoch into a ``SharedEpochIterator``, in place; leave any other as it is.

    The object must stay the same one: fairseq creates it inside ``get_batch_iterator`` and keeps it for later epochs.
    """
    if type(iterator) is EpochBatchIterator:
        iterator.__class__ = SharedEpochIterator
