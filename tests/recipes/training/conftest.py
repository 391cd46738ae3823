"""What the tests of training share: configs whose data is two dictionaries."""

from pathlib import Path

import pytest
from support import toy_run


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """Return a folder with the configs baseline.yaml and rdrop.yaml."""
    folder = tmp_path / "configs"
    folder.mkdir()
    return toy_run.write_configs(folder)
