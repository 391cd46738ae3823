"""Parallel text of a user: train, valid and test*, each as NAME.SOURCE and NAME.TARGET, plain or as .gz."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from recipes.cli import need
from recipes.data.options import PERL, Options, folder
from recipes.data.parallel_files import find_sources, prepare_files
from recipes.data.prepared import Prepared


def pair(text: str) -> str:
    """Return the language pair that a text says."""
    if not re.fullmatch(r"\w+-\w+", text):
        raise argparse.ArgumentTypeError(f"must be two languages as in de-en, not '{text}'")
    if len(set(text.split("-"))) == 1:
        raise argparse.ArgumentTypeError(f"the languages of '{text}' must differ")
    return text


def names_of_tests(source: Path, langs: Sequence[str]) -> list[str]:
    """Return the names of what starts with "test" and ends in one of the languages. Exit if there is none."""
    ending = re.compile(rf"\.({'|'.join(langs)})(\.gz)?$")
    names = sorted({ending.sub("", file.name) for file in source.glob("test*") if ending.search(file.name)})
    if not names:
        sys.exit(f"{source} has no test.{langs[0]}; --no-test prepares train and valid alone")
    if any(char in name for name in names for char in " ,"):
        sys.exit(f"{source}: a name of a test set holds a space or a comma, which fairseq does not take")
    return names


def main(arguments: Sequence[str]) -> None:
    """Run the command prepare_text.sh."""
    options = Options("--train-lines", "--moses", source=folder, bpe=10_000, both_ways=True)
    options.add_argument("--subwords", choices=("subword-nmt", "sentencepiece"), default="subword-nmt")
    options.add_argument("--pair", type=pair)
    for name in ("--tokenized", "--lowercase", "--drop-empty", "--no-test"):
        options.add_argument(name, action="store_true")
    args = options.parse_args(arguments)
    for name in ("source", "pair", "out"):
        if not getattr(args, name):
            sys.exit(f"--{name.replace('source', 'from')} is missing (see --help)")
    if args.tokenized and args.moses:
        sys.exit("--moses makes tokens, and --tokenized says that they are made: give one of them")
    langs = args.pair.split("-")

    def source_of(name: str, lang: str) -> str:
        files = (args.source / f"{name}.{lang}.gz", args.source / f"{name}.{lang}")
        return next((str(file) for file in files if file.is_file()), "")

    if args.subwords == "sentencepiece":
        need(["sentencepiece"])
    tests = [] if args.no_test else names_of_tests(args.source, langs)
    sources = find_sources(args.source, source_of, langs, ["train", "valid", *tests])
    chosen = {"pair": args.pair, "train-lines": args.train_lines or "all", "bpe": args.bpe}
    chosen |= {"subwords": args.subwords} if args.subwords != "subword-nmt" else {}
    chosen |= {name: True for name, given in (("drop-empty", args.drop_empty), ("no-test", args.no_test)) if given}
    chosen |= {"tokenized": True} if args.tokenized else {}
    chosen |= {"tokens": PERL} if args.moses else {}
    settings = Prepared("prepare_text.sh", chosen, lowercase=args.lowercase)
    prepare_files(args, settings, sources, drop_empty=args.drop_empty, drop_bom=True)
    print(f"The data is in {args.out}/bin: task.data of a config")
