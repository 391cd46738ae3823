"""Read and write files so that each is whole or absent: texts, checksums, locks, temporary folders."""

import errno
import fcntl
import glob
import hashlib
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm


def progress(
    what: str, total: int | None, unit: str = "B", done: int = 0, hidden: bool | None = None
) -> "tqdm[NoReturn]":
    """Return a progress bar. It appears after two seconds, on a terminal alone, and goes at the end."""
    return tqdm(desc=what, total=total, initial=done, unit=unit, unit_scale=True, leave=False, disable=hidden, delay=2)


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, with a progress bar for a large one."""
    digest = hashlib.sha256()
    with file.open("rb") as source, progress(file.name, file.stat().st_size) as bar:
        while block := source.read(1 << 20):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text. Only a newline ends a line. Exit if the text is not UTF-8."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            return file.read().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        sys.exit(f"{path} is no text in UTF-8: {error.reason} at byte {error.start}")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text with a newline after each line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def write_joined(target: Path, sources: Iterable[Path]) -> None:
    """Write what the sources hold to a file, one after the other."""
    with target.open("wb") as out:
        for source in sources:
            with source.open("rb") as file:
                shutil.copyfileobj(file, out)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`. The file that is written there takes the place of `path` at the end.

    If the end is not reached, the temporary file is removed and `path` stays as it was.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is there whole or not at all. Leave a file alone that holds the text already."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def lock(path: Path, patience: float) -> int | None:
    """Return a file descriptor that locks a file until the last process that has it open closes it or ends.

    Return None if another process still holds the lock after `patience` seconds. The file is made if it is missing.
    Where the file system has no locks, nothing is locked.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(0.1)
        except OSError:  # a file system without locks
            return descriptor


@contextmanager
def own_folder(parent: Path, name: str) -> Iterator[Path]:
    """Give a temporary folder of this process alone, PARENT/.NAME.*.part, and remove it at the end.

    The process holds a lock on the folder as long as it lives. Folders that killed processes left under this name,
    which nobody locks, are removed first.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f".{glob.escape(name)}.????????.part"):
        with suppress(OSError):
            held = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
            finally:
                os.close(held)
    descriptor: int | None = None
    while descriptor is None:  # until it is locked, another process may remove the folder
        made = Path(tempfile.mkdtemp(".part", f".{name}.", parent))
        with suppress(FileNotFoundError):
            descriptor = _lock_folder(made)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(descriptor)


def _lock_folder(folder: Path) -> int:
    """Return a descriptor that locks a folder. Raise FileNotFoundError if the folder is removed meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        folder.stat()
    except FileNotFoundError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the place of `folder` at the end. It is removed if the end is not reached.

    If several processes make the same folder, the result of the last one stays.
    """
    with own_folder(folder.parent, folder.name) as temporary:
        part = temporary / "new"
        part.mkdir()
        yield part
        for attempt in itertools.count():
            with suppress(FileNotFoundError):
                folder.rename(temporary / f"former{attempt}")
            try:
                part.rename(folder)
                break
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another process was in between
                    raise
