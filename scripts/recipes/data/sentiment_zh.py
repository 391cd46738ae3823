"""Sentiment of Chinese reviews, of which few have a label: the set of an experiment with unlabelled texts."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from recipes.cli import ROOT, positive
from recipes.data.archives import find_archive
from recipes.data.encodings import Characters
from recipes.data.given import Given, in_folder
from recipes.data.options import Options, file_or_folder, tell_next
from recipes.data.sentences import UNLABELED, Classes, Row, Sentences, prepare_sentences
from recipes.data.tables import table_rows
from recipes.files import sha256

ARCHIVE = "sentiment.zip"
ADDRESS = f"https://raw.githubusercontent.com/bojone/bert4keras/master/examples/datasets/{ARCHIVE}"
CHECKSUM = "866256a80e4019e538d2681b5f4bf2f21be3c24139b4100ca266c2fca8be86c9"
FILES = {name: (f"sentiment.{name}.data", f"{name}.tsv") for name in ("train", "valid", "test")}
LABELS = ("0", "1")


def part(text: str) -> int | float:
    """Return the number of rows, or the share of them below 1, that a text says, as in 168, 1% or 0.01."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if 0 < share < 1:
        return share
    try:
        return positive(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"must be a number of rows, or a share as in 1% or 0.01, not '{text}'"
        ) from None


def rows_of(given: Given, name: str) -> Iterator[Row]:
    """Yield the reviews of a text with their labels. Exit at a line that is none."""
    for where, fields in table_rows(given.lines(name), given.files[name][-1]):
        if len(fields) != 2:
            sys.exit(f"{where}: must be a review, a tab and a label, not {len(fields)} columns")
        row = Row(where, fields[1], (fields[0],))
        Classes(LABELS).check(row)
        yield row


def first_labeled(given: Given, labeled: int | float) -> Iterator[Row]:
    """Yield the rows for training: the first ones with their labels, the others with the mark in its place.

    Exit if that leaves no row with a label, or none without.
    """
    rows = list(rows_of(given, "train"))
    count = labeled if isinstance(labeled, int) else int(labeled * len(rows))
    if not 0 < count < len(rows):
        sys.exit(f"--labeled: {count:,} of {len(rows):,} rows; must be at least one, and not all")
    print(f"train: {count:,} rows keep their label")
    for number, row in enumerate(rows):
        yield row if number < count else Row(row.where, UNLABELED, row.sentences)


def archive_of(source: Path | None, out: Path) -> Path:
    """Return the folder or the .zip of the reviews. Exit if a .zip is not the published one."""
    if source is None:
        return find_archive(None, [ARCHIVE], ADDRESS, out, checksum=CHECKSUM)
    path = in_folder(source, ARCHIVE)
    if path.is_file() and sha256(path) != CHECKSUM:
        sys.exit(f"{path}: its SHA-256 is not that of the published {ARCHIVE}, {CHECKSUM}")
    return path


def main(arguments: Sequence[str]) -> None:
    """Run the command prepare_sentiment_zh.sh."""
    options = Options(source=file_or_folder)
    options.add_argument("--labeled", type=part, default=0.01)
    args = options.parse_args(arguments)
    args.out = args.out or ROOT / "data" / "sentiment_zh"

    def given() -> Given:
        return Given(archive_of(args.source, args.out), FILES, "sentiment", f"is it {ARCHIVE} of bert4keras?")

    splits: dict[str, Callable[[], Iterator[Row]]] = {
        "train": lambda: first_labeled(given(), args.labeled),
        "valid": lambda: rows_of(given(), "valid"),
        "test": lambda: rows_of(given(), "test"),
    }
    sentences = Sentences(args.out, splits, Classes((*LABELS, UNLABELED)), Characters(), args.workers)
    chosen = {"labeled": str(args.labeled)}
    prepare_sentences(args, "prepare_sentiment_zh.sh", chosen, sentences, lambda: given().digests())
    tell_next(args.out, "sentiment_zh", "configs/sentiment_zh/semi.yaml")
