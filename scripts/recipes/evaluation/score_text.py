"""Score a translation that you have as plain text: the command scripts/score.sh."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from recipes.cli import Parser, need
from recipes.evaluation.score import describe, scores, text_metrics
from recipes.files import read_lines
from recipes.text import segment
from recipes.text.moses import Rules, tokenizer
from recipes.text.parallel import BOM

STDIN = Path("/dev/stdin")


def a_text(path: Path) -> list[str]:
    """Return the lines of a text. Exit if it is missing, empty, or not in UTF-8."""
    if path.is_dir():
        sys.exit(f"{path} is a folder, and no text")
    if not path.exists():
        sys.exit(f"there is no file {path}")
    lines = read_lines(path)
    if lines == [""]:
        sys.exit(f"{path} is empty")
    lines[0] = lines[0].removeprefix(BOM)
    return [line.removesuffix("\r") for line in lines]


def language_of(name: str) -> str:
    """Return the language that the name of a text ends with, as in test.de, or else "en"."""
    ending = Path(name).suffix[1:]
    return ending if re.fullmatch("[a-z]{2}", ending) else "en"


def main(arguments: Sequence[str]) -> None:
    """Run the command score.sh."""
    parser = Parser()
    parser.add_argument("hypotheses", metavar="HYPOTHESES")
    parser.add_argument("references", nargs="+", metavar="REFERENCE")
    parser.add_argument("--lang")
    parser.add_argument("--lowercase", action="store_true")
    args = parser.parse_intermixed_args(arguments)
    lang = language_of(args.references[0]) if args.lang is None else args.lang
    if not re.fullmatch(r"[A-Za-z]{2,3}([_-]\w+)*", lang):
        parser.error(f"--lang: must be a language as in 'de', not '{lang}'")
    text_metrics(lang, args.lowercase)  # exits before all work if it cannot score
    need(segment.MODULES.get(segment.base(lang), ()))
    if [args.hypotheses, *args.references].count("-") > 1:
        sys.exit("-, the standard input, can be one of the texts only")
    txt = [a_text(STDIN if name == "-" else Path(name)) for name in (args.hypotheses, *args.references)]
    for name, lines in zip(args.references, txt[1:], strict=True):
        if len(lines) != len(txt[0]):
            sys.exit(
                f"{args.hypotheses} has {len(txt[0])} lines, and {name} {len(lines)}: they must match line by line"
            )
    tokens = tokenizer(lang, Rules(lowercase=args.lowercase, characters=True))
    result = scores([tokens(lines) for lines in txt], txt, lang, args.lowercase)
    sys.stdout.write(describe(f"{args.hypotheses}, language {lang}", result))
