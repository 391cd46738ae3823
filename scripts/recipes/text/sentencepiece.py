"""Learn and apply a unigram model of SentencePiece, which splits the text itself into pieces, spaces included."""

import io
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from recipes.text.line_pool import join_parent, start_workers
from recipes.text.pieces import SPACE, join, one_space

__all__ = ["SPACE", "applier", "join", "learn"]

THREADS = 8  # of the training; with another number its sums round differently, and so the pieces may differ
_OPTIONS: dict[str, Any] = {
    "model_type": "unigram",
    "normalization_rule_name": "identity",  # so that the pieces, joined, are the text again, full-width forms too
    "hard_vocab_limit": False,  # a small text gives fewer pieces; the trainer would fail
    "num_threads": THREADS,
    "minloglevel": 2,  # it would print hundreds of lines
}


def learn(codes: Path, merges: int, files: Iterable[Path], workers: int) -> None:
    """Write the model with `merges` pieces that SentencePiece learns from all files together.

    It is the same for any number of workers. Exit with one line if the text has no characters, or too many for so few
    pieces: each of those that make up 99.95% of the text is a piece.
    """
    with ExitStack() as ends:
        pool = start_workers(ends, 1, initializer=join_parent, initargs=(os.getpid(),))
        try:
            failure = pool.submit(_train, codes, merges, list(files)).result()
        finally:
            for process in multiprocessing.active_children():  # after ^C nobody waits for the end of the training
                process.kill()
    if failure:
        sys.exit(f"bpe: SentencePiece cannot learn {merges} pieces of the training text: {failure}")
    learned = SentencePieceProcessor(model_file=str(codes)).get_piece_size()
    if learned < merges:
        print(f"bpe: {learned} pieces, fewer than {merges}: the training text gives no more")


def _train(codes: Path, pieces: int, files: list[Path]) -> str:
    """Write the model, and return why that failed, or ""."""
    model = io.BytesIO()
    lines = (one_space(line.decode()) for file in files for line in file.open("rb"))
    try:
        SentencePieceTrainer.train(sentence_iterator=lines, model_writer=model, vocab_size=pieces, **_OPTIONS)
    except RuntimeError as error:
        return str(error).rpartition("] ")[2].strip() or "it has no characters"
    codes.write_bytes(model.getvalue())
    return ""


def applier(codes: Path) -> Callable[[list[str]], list[str]]:
    """Return the function from lines of text to lines of pieces. What the model does not know is a piece as it is."""
    model = SentencePieceProcessor(model_file=str(codes))
    return lambda lines: [" ".join(pieces) for pieces in model.encode(list(map(one_space, lines)), out_type=str)]
