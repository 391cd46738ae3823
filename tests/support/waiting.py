"""How the tests wait. No test fails because a machine is slow: HANG ends only what would never end."""

import subprocess
import time
from collections.abc import Callable

HANG = 3600  # seconds


def wait_until(happened: Callable[[], object], alive: Callable[[], bool] = lambda: True) -> None:
    """Wait for something that a process does which is alive meanwhile."""
    limit = time.monotonic() + HANG
    while not happened():
        assert alive() and time.monotonic() < limit
        time.sleep(0.01)


def is_gone(process: int) -> bool:
    """Whether the process of this number has ended; its parent may not have waited for it yet."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False
    ).stdout
    return not state or state.startswith("Z")
