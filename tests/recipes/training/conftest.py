"""What the tests of training share: configs whose data is two dictionaries, and checkpoints that hold what is read."""

from pathlib import Path

import pytest
import torch
from support import toy_run


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """A folder with the configs baseline.yaml and rdrop.yaml."""
    folder = tmp_path / "configs"
    folder.mkdir()
    return toy_run.write_configs(folder)


@pytest.fixture(scope="session")
def checkpoint():
    """Write a file with what is read of fairseq's checkpoints: checkpoint(PATH, UPDATES, KEY=VALUE...)."""

    def write(path: Path, updates: int, **state: object) -> None:
        extra = {"train_iterator": {"epoch": 1 + updates // 10}, "previous_training_time": 360.0 * updates}
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = {"optimizer_history": [{"num_updates": updates}], "extra_state": extra, "last_optimizer_state": {}}
        torch.save(parts | state, path)

    return write
