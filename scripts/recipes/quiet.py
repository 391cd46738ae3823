"""Call fairseq and PyTorch without their messages."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Show no log messages and no warnings inside a with statement.

    fairseq logs which optional packages are missing when it is imported, and pages of settings when it runs.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
