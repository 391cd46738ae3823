"""Moses tokens of a text and back, with sacremoses; the language is the ending of the file name (train.de)."""

import argparse
import functools
import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from line_pool import map_files
from sacremoses import MosesDetokenizer, MosesTokenizer


def tokenize(lines: list[str], moses: MosesTokenizer) -> list[str]:
    """Return the lines as tokens with a space between, as Moses' `tokenizer.perl -no-escape` gives them."""
    tokens = (moses.tokenize(line, return_str=True, escape=False) for line in lines)
    # sacremoses leaves the last period of a line on an abbreviation or a number; tokenizer.perl splits it off.
    return [re.sub(r"(?<=[^\s.])\.$", " .", line) for line in tokens]


def lower(lines: list[str]) -> list[str]:
    """Return the lines as Moses' `lowercase.perl` gives them: unlike Python, Perl knows no final sigma."""
    return [line.replace("Σ", "σ").lower() for line in lines]


def detokenize(lines: list[str], moses: MosesDetokenizer) -> list[str]:
    """Return lines of tokens as plain text: the inverse of `tokenize`, but for a few spaces that tokens do not tell."""
    return [moses.detokenize(line.split(" "), unescape=False) for line in lines]


def tokenizer(lang: str, lowercase: bool = False) -> Callable[[list[str]], list[str]]:
    """Return the function from raw lines to lines of tokens, lower-cased or not, of a language."""
    cased = functools.partial(tokenize, moses=MosesTokenizer(lang))
    return (lambda lines: lower(cased(lines))) if lowercase else cased


def detokenizer(lang: str) -> Callable[[list[str]], list[str]]:
    """Return the function from lines of tokens to raw lines of a language."""
    return functools.partial(detokenize, moses=MosesDetokenizer(lang))


def language(file: Path) -> str:
    """Return the ending of a file name, without the dot."""
    return file.suffix[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("direction", choices=["tokenize", "detokenize"])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--out-dir", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--lowercase", action="store_true", help="lower-case the tokens")
    args = parser.parse_args()
    make = functools.partial(tokenizer, lowercase=args.lowercase) if args.direction == "tokenize" else detokenizer
    for lang, files in groupby(sorted(args.files, key=language), key=language):
        map_files(functools.partial(make, lang), files, args.out_dir, args.workers)


if __name__ == "__main__":
    main()
