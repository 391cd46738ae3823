"""Count the words of texts: on all cores, with progress."""

import functools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from recipes.text.line_pool import LinePool


def count(separator: str | None, lines: list[str]) -> Counter[str]:
    """Return how often each word occurs in the lines."""
    return Counter(word for line in lines for word in line.split(separator) if word)


def count_words(files: Iterable[Path], workers: int, separator: str | None = None) -> Counter[str]:
    """Return how often each word occurs in the files, in the order in which the words occur first.

    Words end at the separator, or if it is None at white space of any kind.
    """
    words: Counter[str] = Counter()
    with LinePool(functools.partial(functools.partial, count, separator), workers) as pool:
        for file in files:
            for part in pool.results(file, f"words of {file.name}"):
                words.update(part)
    return words
