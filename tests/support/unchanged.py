"""That a command which only looks changes nothing in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path


def state(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time and checksum of all in a folder, by path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, content)
    return found


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Check at the end that the folder is as it was."""
    before = state(folder)
    yield
    assert state(folder) == before
