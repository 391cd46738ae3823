"""For all tests: one thread a process, the same hypothesis examples on every run, a web server."""

import functools
import gc
import http.server
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # PyTorch reads it at its import, which processes that run no test do not need
# The processes of pytest-xdist, and the programs that tests start, are spared some imports.
LATE = str(Path(__file__).parent / "support/late")
if LATE not in (paths := os.environ.get("PYTHONPATH", "").split(os.pathsep)):
    os.environ["PYTHONPATH"] = os.pathsep.join([LATE, *filter(None, paths)])
# Tests that send these also run in the background and under nohup, which ignore them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
hypothesis.settings.register_profile("rdrop", derandomize=True, deadline=None, database=None, max_examples=50)
hypothesis.settings.load_profile("rdrop")


# These take longest, so they come first: then no process works alone at the end.
LONG = (
    "test_training.py",
    "test_each_study.py",
    "test_language_modeling.py",
    "test_examples.py",
    "test_benchmarks.py",
    "test_hydra.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take long first."""
    items.sort(key=lambda item: item.path.name not in LONG)


def pytest_collection_finish() -> None:
    """Spare each test what Python and pytest would do with all that has been imported.

    Nothing that exists now becomes garbage: so the garbage collector need not go through it, nor write to memory that
    forked processes share. It need not look for the little that becomes garbage as often as it does. And for each test
    pytest attaches itself to every logger that passes nothing on, of which torch has dozens.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.propagate = True


@pytest.fixture(autouse=True, scope="session")
def _quick() -> None:
    """Spare this process what it would do again and again."""
    from support.spared import spare  # imports torch

    spare()


class Silent(http.server.SimpleHTTPRequestHandler):
    """Serves files without a word on stderr."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Give the address of tmp_path, served over HTTP."""
    handler = functools.partial(Silent, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
