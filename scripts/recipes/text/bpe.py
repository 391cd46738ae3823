"""Learn and apply byte pair encoding with subword-nmt, on all cores."""

import contextlib
import copy
import functools
import io
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from subword_nmt import learn_bpe
from subword_nmt.apply_bpe import BPE
from tqdm import tqdm

from recipes.cli import Parser, positive
from recipes.text.line_pool import map_files
from recipes.text.words import count_words

# subword-nmt keeps the subwords of every word that it has met; so much of it, some 100 MB a process, is enough.
CACHED_WORDS = 300_000
NOTHING = "no two characters stand together twice inside the words of the training text: there is nothing to merge"


def most_frequent(table: Any, key: object = None) -> Any:
    """Stand in for `max` in subword-nmt: of a table of pairs with a key the most frequent pair, of several the last.

    That is what its key, a Python function, comes to; half of its time went into calling that.
    """
    if key is None:
        return max(table)
    highest = max(table.values())
    return max(pair for pair, number in table.items() if number == highest)


def learn(codes: Path, merges: int, files: list[Path], workers: int) -> None:
    """Write the codes that `subword-nmt learn-bpe -s MERGES` learns from all files together.

    Exits where it would learn none: then it fails itself, or `apply-bpe` does.
    """
    words = count_words(files, workers, " ")
    if not any(len(word) > 1 for word in words):
        sys.exit(f"bpe: {NOTHING}")
    learn_bpe.max = most_frequent
    # Its tables of counts hold nothing that is changed in place: a shallow copy is as good as a deep one, and quick.
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
    with codes.open(encoding="utf-8", newline="\n") as file:
        bpe = BPE(file)

    def apply(lines: list[str]) -> list[str]:
        if len(bpe.cache) > CACHED_WORDS:
            bpe.cache.clear()
        return [bpe.process_line(line) for line in lines]

    return apply


def main() -> None:
    parser = Parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("learn", "apply"):
        command = commands.add_parser(name)
        command.add_argument("files", type=Path, nargs="+", metavar="FILE")
        command.add_argument("--codes", type=Path, required=True)
        command.add_argument("--workers", type=positive, default=1)
    commands.choices["learn"].add_argument("--merges", type=positive, required=True)
    commands.choices["apply"].add_argument("--out-dir", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "learn":
        learn(args.codes, args.merges, args.files, args.workers)
    else:
        map_files(functools.partial(applier, args.codes), args.files, args.out_dir, args.workers)


if __name__ == "__main__":
    main()
