"""IFLYTEK and TNEWS of CLUE: Chinese texts and their classes, from where a user has them."""

import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial

from recipes.cli import ROOT
from recipes.data.encodings import Characters
from recipes.data.given import Given, in_folder
from recipes.data.options import Options, file_or_folder, tell_next
from recipes.data.sentences import Classes, Row, Sentences, prepare_sentences

PAGE = "https://github.com/CLUEbenchmark/CLUE"
FILES = {"train": ("train.json",), "valid": ("dev.json",)}  # CLUE keeps the labels of its test sets
LABELS = {
    "iflytek": tuple(map(str, range(119))),
    "tnews": tuple(str(number) for number in range(100, 117) if number not in (105, 111)),
}


def rows_of(given: Given, name: str) -> Iterator[Row]:
    """Yield the texts with their labels: a line has an object with "label" and "sentence". Exit at another line."""
    for number, line in enumerate(given.lines(name), start=1):
        where = f"{given.files[name][0]}: line {number}"
        try:
            found = json.loads(line)
        except ValueError as error:  # also of what is not UTF-8
            sys.exit(f"{where} is not JSON: {error}")
        if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in ("label", "sentence")):
            sys.exit(f'{where}: must be an object with the texts "label" and "sentence"')
        yield Row(where, found["label"], (found["sentence"],))


def main(arguments: Sequence[str]) -> None:
    """Run the command prepare_clue.sh."""
    options = Options(source=file_or_folder)
    options.add_argument("task", choices=list(LABELS), metavar="TASK")
    args = options.parse_args(arguments)
    task, archive = args.task, f"{args.task}_public.zip"
    args.out = args.out or ROOT / "data" / task
    if args.source is None:
        sys.exit(f"--from is missing: {archive} is on {PAGE}; pass it, or the folder of its files")
    given = Given(in_folder(args.source, archive), FILES, task, f"is it {archive}?")
    splits = {name: partial(rows_of, given, name) for name in FILES}
    sentences = Sentences(args.out, splits, Classes(LABELS[task]), Characters(), args.workers)
    prepare_sentences(args, "prepare_clue.sh", {"task": task}, sentences, given.digests)
    tell_next(args.out, task, f"configs/{task}/rdrop.yaml")
