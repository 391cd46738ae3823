"""How the tests wait. No test fails because a machine is slow: HANG ends only what would never end."""

import time
from collections.abc import Callable

HANG = 3600  # seconds


def wait_until(happened: Callable[[], object], alive: Callable[[], bool] = lambda: True) -> None:
    """Wait for something that a process does which is alive meanwhile."""
    limit = time.monotonic() + HANG
    while not happened():
        assert alive() and time.monotonic() < limit
        time.sleep(0.01)
