"""Apply a function to every line of files, on all cores, in constant memory, with progress; count words like that."""

import itertools
import multiprocessing
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recipes import children
from recipes.files import progress

# A factory is called once in each worker, so that rules and codes are loaded there and never sent. It returns the
# function that does the work on lists of lines, as text without their ends.
Work = Callable[[list[str]], Any]
Factory = Callable[[], Work]
CHUNK_LINES = 2000
_work: Work

# tqdm would start a thread to watch its bars, and it is not safe to fork workers while a thread runs.
tqdm.monitor_interval = 0


def join_parent(parent: int) -> None:
    """Let this process, a worker, end with its parent, which also takes a ^C or a hangup for both."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    children.end_with(parent)


def _start_worker(parent: int, factory: Factory) -> None:
    """Prepare this worker process: make the function that it calls."""
    global _work
    join_parent(parent)
    _work = factory()


def _lines(chunk: list[bytes]) -> list[str]:
    """Return lines of bytes as text, without the newlines."""
    return [line.decode().removesuffix("\n") for line in chunk]


def _run(chunk: list[bytes]) -> Any:
    """Return what this worker's function returns for a chunk of lines."""
    return _work(_lines(chunk))


def start_workers(ends: ExitStack, workers: int, **settings: Any) -> ProcessPoolExecutor:
    """Return a pool whose processes have started, and which shuts down when the stack `ends` is closed.

    In a process without other threads a signal counts only when that is sure. Exit with one line if the system does not
    allow that many processes.
    """
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), **settings)
    with children.interrupts_wait():
        try:
            pool.submit(int)  # starts them all
        except (OSError, RuntimeError) as error:  # no more processes, no more threads
            for process in multiprocessing.active_children():  # Python would wait for them when it ends
                process.kill()
            sys.exit(f"cannot start {workers} processes: {error}; give fewer with --workers")
        ends.callback(pool.shutdown, cancel_futures=True)
    return pool


def count_lines(text: Path) -> int:
    """Return how many lines a text has; only "\\n" ends one."""
    with text.open("rb") as file:
        return sum(1 for _ in file)


class LinePool(ExitStack):
    """The function that `factory` returns, in worker processes that each have one; for use in a `with` statement.

    The workers start with the first text of more than one chunk. A shorter one is done before they would have started.
    """

    def __init__(self, factory: Factory, workers: int) -> None:
        super().__init__()
        self._factory, self._workers = factory, workers

    @cached_property
    def _pool(self) -> ProcessPoolExecutor:
        """The worker processes, which start when they are first needed."""
        return start_workers(self, self._workers, initializer=_start_worker, initargs=(os.getpid(), self._factory))

    @cached_property
    def _work_here(self) -> Work:
        """The function, for a text that this process works on itself."""
        return self._factory()

    def results(self, source: Path, description: str) -> Iterator[Any]:
        """Yield what the function returns for each chunk of the lines of `source`, in order.

        Only "\\n" ends a line, and not U+2028 for example. A few chunks are held at a time.
        """
        with source.open("rb") as lines, progress(description, source.stat().st_size) as bar:
            chunks = iter(lambda: list(itertools.islice(lines, CHUNK_LINES)), [])
            first = list(itertools.islice(chunks, 2))
            if len(first) == 1:
                yield self._work_here(_lines(first[0]))
                bar.update(sum(map(len, first[0])))
                return
            at_work = (
                (sum(map(len, chunk)), self._pool.submit(_run, chunk)) for chunk in itertools.chain(first, chunks)
            )
            pending = deque(itertools.islice(at_work, 4 * self._workers))
            while pending:
                size, future = pending.popleft()
                result = future.result()
                pending.extend(itertools.islice(at_work, 1))
                bar.update(size)
                yield result


def map_files(factory: Factory, sources: Iterable[Path], out_dir: Path, workers: int) -> None:
    """Write the lines that the factory's function returns for each source to a file of the same name in a folder.

    Exit with one line if it returns more or fewer lines than the source has.
    """
    with LinePool(factory, workers) as pool:
        for source in sources:
            target = out_dir / source.name
            with target.open("w", encoding="utf-8", newline="\n") as out:
                for lines in pool.results(source, source.name):
                    out.writelines(f"{line}\n" for line in lines)
            if count_lines(target) != count_lines(source):
                sys.exit(f"{target}: {count_lines(target)} lines made of the {count_lines(source)} of {source}")


def _count(separator: str | None, lines: list[str]) -> Counter[str]:
    """Return how often each word occurs in lines."""
    return Counter(word for line in lines for word in line.split(separator) if word)


def count_words(files: Iterable[Path], workers: int, separator: str | None = None) -> Counter[str]:
    """Return how often each word occurs in the files, in the order in which the words occur first.

    Words end at the separator, or if it is None at white space of any kind.
    """
    words: Counter[str] = Counter()
    with LinePool(lambda: partial(_count, separator), workers) as pool:
        for file in files:
            for part in pool.results(file, f"words of {file.name}"):
                words.update(part)
    return words
