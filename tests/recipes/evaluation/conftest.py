"""The run that most tests of the evaluation share."""

from pathlib import Path

import pytest
from recipes.text import bpe
from support.learned_run import copy_of, learned_once
from support.quick_config import install


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with checkpoints by update, by epoch, and the two best. Tests may add evaluations."""
    install()  # for what decodes in this process
    return copy_of(learned_once(tmp_path_factory) / "run", tmp_path_factory.mktemp("learned"))


@pytest.fixture(scope="module")
def with_codes(learned: Path) -> Path:
    """Return the run, whose data has codes that make one subword of each word. The run folder holds no copy of them."""
    data = learned.parent / "data"
    (data / "bpe").mkdir()
    bpe.learn(data / "bpe/codes", 100, [data / "tok/train.de", data / "tok/train.en"], 1)
    return learned


@pytest.fixture
def changed(learned: Path, tmp_path: Path) -> Path:
    """Return a copy of the run and its data that a test may spoil: its run folder."""
    return copy_of(learned, tmp_path / "of=it", "a run")
