"""fairseq-preprocess in a fork of the tests, which have imported fairseq already: that takes a new process seconds."""

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from unittest import mock

from recipes.text import binarize, preprocess


class Fork:
    """What `binarize` uses of a subprocess.Popen, of a process that runs fairseq-preprocess in a folder."""

    def __init__(self, options: list[str], folder: Path, out: IO[bytes]) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            self._run(options, folder, out)

    def _run(self, options: list[str], folder: Path, out: IO[bytes]) -> None:
        status = 1
        try:
            os.setpgid(0, 0)
            os.chdir(folder)
            for standard in (1, 2):
                os.dup2(out.fileno(), standard)
            logging.getLogger().setLevel(logging.INFO)  # fairseq does that when it is the first to use logging
            preprocess.main(options)
            status = 0
        except SystemExit as end:
            os.write(2, f"{end.code}\n".encode())
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        """Wait for the end of the process, and return its exit status."""
        return self._wait(0)

    def _wait(self, flags: int) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, flags)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode


@contextmanager
def fairseq_in_a_fork() -> Iterator[None]:
    """Let `binarize` run fairseq-preprocess in a fork."""
    with mock.patch.object(binarize, "_start", Fork):
        yield
