"""Count the words of texts: on all cores, with progress."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from recipes.text.line_pool import LinePool


def count(lines: list[str], separator: str | None) -> Counter[str]:
    """Return how often each word stands in the lines."""
    return Counter(word for line in lines for word in line.split(separator) if word)


def counter(separator: str | None) -> Callable[[list[str]], Counter[str]]:
    """Return `count` for a separator; there is nothing to load."""
    return functools.partial(count, separator=separator)


def count_words(files: Iterable[Path], workers: int, separator: str | None = None) -> Counter[str]:
    """Return how often each word stands in the files, in the order of their first places.

    Words end at the separator, or at white space of any kind where it is None.
    """
    words: Counter[str] = Counter()
    with LinePool(functools.partial(counter, separator), workers) as pool:
        for file in files:
            for part in pool.results(file, f"words of {file.name}"):
                words.update(part)
    return words
