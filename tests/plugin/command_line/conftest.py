"""A made-up corpus, what was trained on it, and a run with its checkpoints."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command_line import (
    RDROP,
    SCHEDULE,
    Result,
    make_data,
    train,
)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def trained(data: Path) -> Callable[..., Result]:
    """fairseq-train with the given flags; what was trained before is not trained again."""
    return functools.cache(functools.partial(train, data))


@pytest.fixture(scope="session")
def run_folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoints of an R-Drop run of six updates, and its log as ``log``."""
    folder = tmp_path_factory.mktemp("run")
    result = train(data, *RDROP, *SCHEDULE, "--max-update", "6", save_dir=folder)
    (folder / "log").write_text(result.stdout)
    return folder
