"""fairseq's iterator over an epoch, which a checkpoint can continue on another number of processes."""

from typing import Any

from fairseq.data.iterators import EpochBatchIterator


class SharedEpochIterator(EpochBatchIterator):
    """Its state says in how many batches, on how many processes, the epoch was shared when it was saved.

    fairseq's own counts the batches of one process alone. Taken up on another number of processes or with batches of
    another size, it goes on at another place of the epoch, or fails because that lies behind the end.
    """

    def state_dict(self) -> dict[str, Any]:
        """fairseq's state and what its position is counted in."""
        return {**super().state_dict(), "num_shards": self.num_shards, "num_batches": len(self.frozen_batches)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the place of the epoch that the state names: with the same batches at exactly the next one."""
        if "num_shards" in state_dict:
            done = state_dict["iterations_in_epoch"] * state_dict["num_shards"] * len(self.frozen_batches)
            position = done // (state_dict["num_batches"] * self.num_shards)
            state_dict = {**state_dict, "iterations_in_epoch": position}
        super().load_state_dict(state_dict)
