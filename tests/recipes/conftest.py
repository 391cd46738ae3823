"""What the tests of training and of studies share: checkpoints that hold what is read of them."""

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def checkpoint():
    """Write a file with what is read of fairseq's checkpoints: checkpoint(PATH, UPDATES, KEY=VALUE...)."""

    def write(path: Path, updates: int, **state: object) -> None:
        extra = {"train_iterator": {"epoch": 1 + updates // 10}, "previous_training_time": 360.0 * updates}
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = {"optimizer_history": [{"num_updates": updates}], "extra_state": extra, "last_optimizer_state": {}}
        torch.save(parts | state, path)

    return write
