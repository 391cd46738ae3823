"""Apply a function to every line of a file: in order, on all cores, in constant memory, with progress."""

import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

# The work is done on lists of lines, as text without their ends. A factory makes the function that does it: it is
# called once in each worker, so that rules and codes are loaded there and never sent.
Work = Callable[[list[str]], Any]
Factory = Callable[[], Work]

CHUNK_LINES = 2000
_work: Work


def _start_worker(factory: Factory) -> None:
    """Prepare a worker process: ^C is the parent's business, and when the parent is killed its workers go too."""
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    _work = factory()


def _run(chunk: list[bytes]) -> Any:
    return _work([line.decode().removesuffix("\n") for line in chunk])


class LinePool:
    """Worker processes that each hold the function that `factory` returns; for use in a `with` statement."""

    def __init__(self, factory: Factory, workers: int) -> None:
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(factory,))
        self._pool.submit(int)  # starts the workers now: tqdm starts a thread later, and forking with threads is unsafe

    def __enter__(self) -> "LinePool":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def results(self, source: Path, description: str) -> Iterator[Any]:
        """Yield what the function returns for each chunk of the lines of `source`, in order.

        Only "\\n" ends a line, never U+2028 and its like. A few chunks are held at a time.
        """
        pending: deque[tuple[int, Future[Any]]] = deque()
        size = source.stat().st_size
        with (
            tqdm(desc=description, total=size, unit="B", unit_scale=True, leave=False, disable=None, delay=2) as bar,
            source.open("rb") as lines,
        ):
            while True:
                chunk = list(itertools.islice(lines, CHUNK_LINES))
                if chunk:
                    pending.append((sum(map(len, chunk)), self._pool.submit(_run, chunk)))
                elif not pending:
                    return
                if not chunk or len(pending) > 4 * self._workers:
                    done, future = pending.popleft()
                    yield future.result()
                    bar.update(done)


def map_files(factory: Factory, sources: Iterable[Path], out_dir: Path, workers: int) -> None:
    """Write the lines that the factory's function returns for each source to a file of the same name in `out_dir`."""
    with LinePool(factory, workers) as pool:
        for source in sources:
            with (out_dir / source.name).open("w", encoding="utf-8", newline="\n") as target:
                for lines in pool.results(source, source.name):
                    target.writelines(f"{line}\n" for line in lines)
