"""Learn and apply byte pair encoding with subword-nmt, on all cores."""

import contextlib
import copy
import functools
import io
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from subword_nmt import learn_bpe
from subword_nmt.apply_bpe import BPE
from tqdm import tqdm

from recipes.text.line_pool import count_words

# subword-nmt keeps the subwords of every word that it has met. This many take some 100 MB in each process.
CACHED_WORDS = 300_000
NOTHING = "no two characters stand together twice inside the words of the training text: there is nothing to merge"


def most_frequent(table: Any, key: object = None) -> Any:
    """Return the most frequent pair of a table, the last one of several, in place of `max` in subword-nmt.

    subword-nmt passes a key that gives the same; calling this key took half of its time.
    """
    if key is None:
        return max(table)
    highest = max(table.values())
    return max(pair for pair, number in table.items() if number == highest)


def learn(codes: Path, merges: int, files: Iterable[Path], workers: int) -> None:
    """Write the codes that `subword-nmt learn-bpe -s MERGES` learns from all files together.

    Exit if it would learn none, because then it fails, or `apply-bpe` does.
    """
    words = count_words(files, workers, " ")
    if not any(len(word) > 1 for word in words):
        sys.exit(f"bpe: {NOTHING}")
    learn_bpe.max = most_frequent
    # A shallow copy of its tables of counts is as good as a deep one, because they hold integers, and it is quicker.
    learn_bpe.copy = types.SimpleNamespace(deepcopy=copy.copy)
    learn_bpe.tqdm = functools.partial(tqdm, desc="merges", leave=False, disable=None, delay=2, file=sys.stderr)
    entries = (f"{word} {number}" for word, number in words.items())
    remark = io.StringIO()
    with codes.open("w", encoding="utf-8", newline="\n") as out, contextlib.redirect_stderr(remark):
        learn_bpe.learn_bpe(entries, out, merges, is_dict=True)
    with codes.open("rb") as made:
        if len(made.readlines(1000)) == 1:  # the version alone
            sys.exit(f"bpe: {NOTHING}")
    if remark.getvalue():
        print(f"bpe: fewer than {merges} merges: {remark.getvalue().strip()}")


def applier(codes: Path) -> Callable[[list[str]], list[str]]:
    """Return the function from lines of tokens to lines of subwords, as `subword-nmt apply-bpe` gives them."""
    try:
        with codes.open(encoding="utf-8", newline="\n") as file:
            bpe = BPE(file)
    except ValueError as error:
        sys.exit(f"{codes} holds no codes of subword-nmt: {error}")

    def apply(lines: list[str]) -> list[str]:
        if len(bpe.cache) > CACHED_WORDS:
            bpe.cache.clear()
        return [bpe.process_line(line) for line in lines]

    return apply


def join(lines: list[str]) -> list[str]:
    """Return the lines of tokens whose subwords the lines hold, joined as fairseq does it for "subword_nmt"."""
    return [f"{line} ".replace("@@ ", "").rstrip() for line in lines]
