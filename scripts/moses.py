"""Moses tokens of a text and back, line by line; the language is the ending of the file name (train.de).

sacremoses does the work, with the corrections that make its tokens those of Moses' Perl scripts; with --moses DIR it is
the Perl scripts themselves, from a checkout of Moses. Chinese is segmented by jieba.
"""

import argparse
import functools
import logging
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from itertools import groupby
from pathlib import Path
from typing import ClassVar

import regex
from line_pool import Factory, map_files
from sacremoses import MosesDetokenizer, MosesPunctNormalizer, MosesTokenizer

Lines = Callable[[list[str]], list[str]]
TOKENIZERS = Path("scripts/tokenizer")  # in a checkout of Moses


@dataclass(frozen=True)
class Rules:
    """What is done to a text to make tokens of it."""

    normalize: bool = field(default=False, metadata={"help": "normalize punctuation, replace what does not print"})
    aggressive: bool = field(default=False, metadata={"help": "split at hyphens too: tokenizer.perl -a"})
    escape: bool = field(default=False, metadata={"help": "entities for & | < > ' \" [ ], as tokenizer.perl writes"})
    lowercase: bool = field(default=False, metadata={"help": "lower-case the tokens"})


class Tokenizer(MosesTokenizer):
    """sacremoses' tokenizer with what it leaves of tokenizer.perl, and its slow parts made quick."""

    # sacremoses' lists of letters and numbers end before many scripts, Chinese among them.
    CLASSES: ClassVar[dict[str, str]] = {
        MosesTokenizer.IsAlnum: r"\p{Alphabetic}\p{Nd}",
        MosesTokenizer.IsAlpha: r"\p{Alphabetic}",
        MosesTokenizer.IsN: r"\p{N}",
    }
    ALPHA, LOWER = regex.compile(r"\p{Alphabetic}"), regex.compile(r"\p{Lowercase}*")

    def __init__(self, lang: str) -> None:
        super().__init__(lang)
        for name in ("PAD_NOT_ISALNUM", "AGGRESSIVE_HYPHEN_SPLIT", *(f"COMMA_SEPARATE_{n}" for n in (1, 2, 3))):
            setattr(self, name, self.with_classes(getattr(self, name)))
        for name in ("ENGLISH_SPECIFIC_APOSTROPHE", "FR_IT_SPECIFIC_APOSTROPHE"):
            setattr(self, name, [self.with_classes(rule) for rule in getattr(self, name)])

    def with_classes(self, rule: tuple[re.Pattern[str], str]) -> tuple[regex.Pattern[str], str]:
        """Return a rule, pattern and replacement, with Perl's character classes for sacremoses' lists."""
        pattern = rule[0].pattern
        for chars, name in self.CLASSES.items():
            pattern = pattern.replace(chars, name)
        return regex.compile(pattern), rule[1]

    def islower(self, text: str) -> bool:
        return bool(self.LOWER.fullmatch(text))

    def isanyalpha(self, text: str) -> bool:
        return bool(self.ALPHA.search(text))

    def handles_nonbreaking_prefixes(self, text: str) -> str:
        # The last word of a line loses its period, whatever stands before it: abbreviation, number or letter.
        return re.sub(r"(?<=\S)\.$", " .", super().handles_nonbreaking_prefixes(text))


# White space for Python, not for Perl: tokenizer.perl deletes them with the other control characters.
_PYTHON_SPACES = dict.fromkeys(range(0x1C, 0x20))


def moses_tokens(lang: str, rules: Rules) -> Lines:
    """Return the function to lines of tokens as Moses' `tokenizer.perl -no-escape` gives them, or with the rules."""
    moses = Tokenizer(lang)
    tokens = functools.partial(
        moses.tokenize, return_str=True, escape=rules.escape, aggressive_dash_splits=rules.aggressive
    )
    texts = lambda lines: (line.translate(_PYTHON_SPACES) for line in lines)  # noqa: E731
    # The Perl script leaves a line of white space as it is.
    return lambda lines: [tokens(text) if text.strip() else text for text in texts(lines)]


def chinese_words(rules: Rules) -> Lines:
    """Return the function to lines of jieba's words, escaped as Moses' tokens are where the rules say so."""
    import jieba

    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    escape = MosesTokenizer().escape_xml if rules.escape else str
    return lambda lines: [escape(" ".join(" ".join(jieba.cut(line)).split())) for line in lines]


def normalizer(lang: str) -> Lines:
    """Return the function that `normalize-punctuation.perl LANG | remove-non-printing-char.perl` is."""
    moses = MosesPunctNormalizer(lang, perl_parity=True)
    # The Perl script reads bytes, in which \d and \s are those of ASCII, and each line with its end.
    rules = [(re.compile(pattern, re.ASCII), text) for pattern, text in moses.substitutions]
    # What does not print becomes a space; sacremoses would delete it.
    unprinted = regex.compile(r"\p{C}")

    def normalize(line: str) -> str:
        line += "\n"
        for pattern, text in rules:
            line = pattern.sub(text, line)
        return unprinted.sub(" ", line.removesuffix("\n"))

    return lambda lines: [normalize(line) for line in lines]


def lower(lines: list[str]) -> list[str]:
    """Return the lines as Moses' `lowercase.perl` gives them: unlike Python, Perl knows no final sigma."""
    return [line.replace("Σ", "σ").lower() for line in lines]


def perl(script: Path, *options: str) -> Lines:
    """Return the function that a Perl script of Moses is, which must give a line for each line."""

    def run(lines: list[str]) -> list[str]:
        text = "".join(f"{line}\n" for line in lines)
        done = subprocess.run(["perl", script, *options], input=text.encode(), capture_output=True, check=False)
        made = done.stdout.decode().split("\n")[:-1]
        if done.returncode or len(made) != len(lines):
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise OSError(f"{script}: {said[-1] if said else f'{len(made)} lines for {len(lines)}'}")
        return made

    return run


def lowercaser(moses: Path | None = None) -> Lines:
    """Return `lower`, or the function that lowercase.perl of a checkout of Moses is."""
    return perl(moses / TOKENIZERS / "lowercase.perl") if moses else lower


def tokenizer(lang: str, rules: Rules = Rules(), moses: Path | None = None) -> Lines:
    """Return the function from raw lines to lines of tokens of a language; `moses` is a checkout whose Perl does it."""
    stages: list[Lines] = []
    if rules.normalize and moses:
        stages.append(perl(moses / TOKENIZERS / "normalize-punctuation.perl", lang))
        stages.append(perl(moses / TOKENIZERS / "remove-non-printing-char.perl"))
    elif rules.normalize:
        stages.append(normalizer(lang))
    if lang == "zh":
        stages.append(chinese_words(rules))
    elif moses:
        options = ["-q", "-l", lang, *(["-a"] if rules.aggressive else []), *([] if rules.escape else ["-no-escape"])]
        stages.append(perl(moses / TOKENIZERS / "tokenizer.perl", *options))
    else:
        stages.append(moses_tokens(lang, rules))
    if rules.lowercase:
        stages.append(lowercaser(moses))
    return lambda lines: functools.reduce(lambda made, stage: stage(made), stages, lines)


def detokenize(lines: list[str], moses: MosesDetokenizer, escaped: bool) -> list[str]:
    """Return lines of tokens as plain text: the inverse of `tokenizer`, but for spaces that tokens do not tell."""
    return [moses.detokenize(line.split(" "), unescape=escaped) for line in lines]


def detokenizer(lang: str, escaped: bool = False) -> Lines:
    """Return the function from lines of tokens, with entities or not, to raw lines of a language."""
    return functools.partial(detokenize, moses=MosesDetokenizer(lang), escaped=escaped)


def language(file: Path) -> str:
    """Return the ending of a file name, without the dot."""
    return file.suffix[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("direction", choices=["tokenize", "lowercase", "detokenize"])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--out-dir", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--moses", type=Path, metavar="DIR", help="run the Perl scripts of this checkout of Moses")
    for rule in fields(Rules):
        parser.add_argument(f"--{rule.name}", action="store_true", help=rule.metadata["help"])
    args = parser.parse_args()
    rules = Rules(**{rule.name: getattr(args, rule.name) for rule in fields(Rules)})
    for lang, files in groupby(sorted(args.files, key=language), key=language):
        make: Factory = {
            "tokenize": functools.partial(tokenizer, lang, rules, args.moses),
            "lowercase": functools.partial(lowercaser, args.moses),
            "detokenize": functools.partial(detokenizer, lang, args.escape),
        }[args.direction]
        map_files(make, files, args.out_dir, args.workers)


if __name__ == "__main__":
    main()
