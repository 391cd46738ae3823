"""Moses tokens of a text and back, line by line; the language is the ending of the file name (train.de).

sacremoses does the work, corrected where it is not what Moses' Perl scripts do; with --moses DIR tokens come from
those scripts themselves, in a checkout of Moses. Chinese is segmented by jieba.
"""

import argparse
import functools
import logging
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from itertools import groupby
from pathlib import Path
from typing import ClassVar

import regex
from sacremoses import MosesDetokenizer, MosesPunctNormalizer, MosesTokenizer
from sacremoses.tokenize import nonbreaking_prefixes

from recipes.text.line_pool import Factory, map_files

Lines = Callable[[list[str]], list[str]]
TOKENIZERS = Path("scripts/tokenizer")  # in a checkout of Moses


@dataclass(frozen=True)
class Rules:
    """What is done to a text to make tokens of it."""

    normalize: bool = field(default=False, metadata={"help": "normalize punctuation, replace what does not print"})
    aggressive: bool = field(default=False, metadata={"help": "split at hyphens too: tokenizer.perl -a"})
    escape: bool = field(default=False, metadata={"help": "entities for & | < > ' \" [ ], as tokenizer.perl writes"})
    lowercase: bool = field(default=False, metadata={"help": "lower-case the tokens"})


# Signs that stand inside words, as in EU:n and col·lecció: tokenizer.perl splits one off where no small letter follows.
# It reads the two bytes of the Catalan · as two characters, so that it splits off no · but that of a broken encoding.
INNER_SIGN = {"fi": ":", "sv": ":", "ca": "Â·", "tdt": "'"}

# Lines of Moses' lists of abbreviations that end in a space: no word equals them, but sacremoses strips the space.
NO_ABBREVIATIONS = {
    **{lang: {"ভি"} for lang in ("as", "bn", "mni")},
    "es": {"Fil", "gr"},
    "it": {"Amn", "Arch", "all", "es"},
    "ml": {"പി"},
    "nl": {"Nrs"},
    "sk": {"Pf"},
    "sv": {"Ö"},
}


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
        sign = INNER_SIGN.get(lang, "")
        split_sign = rf"|{sign}(?=$|[^\p{{Ll}}])" if sign else ""
        self.PAD_NOT_ISALNUM = regex.compile(rf"([^\p{{Alphabetic}}\p{{Nd}}\s.'`,\-{sign}]{split_sign})"), r" \1 "
        for name in ("AGGRESSIVE_HYPHEN_SPLIT", *(f"COMMA_SEPARATE_{n}" for n in (1, 2, 3))):
            setattr(self, name, self.with_classes(getattr(MosesTokenizer, name)))
        for name in ("ENGLISH_SPECIFIC_APOSTROPHE", "FR_IT_SPECIFIC_APOSTROPHE"):
            setattr(self, name, [self.with_classes(rule) for rule in getattr(self, name)])
        if lang in ("so", "tdt"):  # their apostrophe between letters is a sound: the last rule, which splits it, goes
            self.FR_IT_SPECIFIC_APOSTROPHE.pop()
        if lang in ("ca", "ga", "so", "tdt"):
            self.lang = "it"  # the rules of the apostrophe
        # Where a list has an abbreviation twice, the last counts.
        prefixes = (line.partition(" #NUMERIC_ONLY#") for line in nonbreaking_prefixes.words(lang))
        only_before_numbers = {prefix: bool(mark) for prefix, mark, _ in prefixes}
        self.NONBREAKING_PREFIXES = only_before_numbers.keys() - NO_ABBREVIATIONS.get(lang, set())
        self.NUMERIC_ONLY_PREFIXES = {prefix for prefix, only in only_before_numbers.items() if only}

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


def is_blank(line: str) -> bool:
    """Return whether a line is empty or white space, as Perl sees it: its scripts leave such a line as it is."""
    return not line.strip() and line.translate(_PYTHON_SPACES) == line


def moses_tokens(lang: str, rules: Rules) -> Lines:
    """Return the function to lines of tokens as Moses' `tokenizer.perl -no-escape` gives them, or with the rules."""
    moses = Tokenizer(lang)
    tokens = functools.partial(
        moses.tokenize, return_str=True, escape=rules.escape, aggressive_dash_splits=rules.aggressive
    )
    return lambda lines: [line if is_blank(line) else tokens(line.translate(_PYTHON_SPACES)) for line in lines]


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
    if lang not in ("en", "cs", "cz", "de", "es", "fr"):
        # The Perl script treats all these like German; sacremoses treats de, es and fr alone so.
        moses.substitutions[-1:-1] = moses.DE_ES_FR_QUOTATION_FOLLOWED_BY_COMMA
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


class Detokenizer(MosesDetokenizer):
    """detokenizer.perl: sacremoses reads the wrong words in Czech and Finnish, and splits at every white space."""

    CJK = re.compile(
        "[\u1100-\u11ff\u2e80-\ua4cf\ua840-\ua87f\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff65-\uffdc\U00020000-\U0002ffff]"
    )
    KIND = regex.compile(
        rf"(?P<cjk>{CJK.pattern})|(?:(?P<opening>[\p{{Sc}}(\[{{¿¡]+)|(?P<closing>[,.?!:;\\%}}\])]+)|(?P<quote>['\"„“`]+))$"
    )
    ALPHA, ALNUM = regex.compile(r"\p{Alphabetic}"), regex.compile(r"[\p{Alphabetic}\p{Nd}]")
    DOUBLE_QUOTES, NUMBER = re.compile("[„“]+"), re.compile("[0-9]+")
    FINNISH_ENDING = re.compile(
        "({})({})?({})?".format(
            *("|".join(getattr(MosesDetokenizer, f"FINNISH_MORPHSET_{number}")) for number in (1, 2, 3))
        )
    )
    # The languages of l' home; detokenizer.perl knows the first two alone, and leaves the space in the others.
    ELIDING = ("fr", "it", "ca", "ga")

    def is_contraction(self, words: list[str], i: int) -> bool:
        """Return whether an English word is one like 's and belongs to the word before it."""
        return words[i].startswith("'") and bool(
            i > 0 and self.ALPHA.match(words[i][1:]) and self.ALNUM.match(words[i - 1][-1:])
        )

    def ends_number(self, words: list[str], i: int) -> bool:
        """Return whether a Czech word is the last of three that are a number, split at its point or comma."""
        return i > 1 and words[i - 1] in (".", ",") and all(map(self.NUMBER.fullmatch, words[i - 2 : i + 1 : 2]))

    def is_elision(self, words: list[str], i: int) -> bool:
        """Return whether a word is one like l' and belongs to the word after it."""
        return words[i].endswith("'") and bool(
            i + 1 < len(words) and self.ALPHA.match(words[i][-2:-1]) and self.ALPHA.match(words[i + 1])
        )

    def has_hyphen(self, words: list[str], i: int) -> bool:
        """Return whether a hyphen joins a Czech word and the one after, as in je-li and e-mail, before a third word."""
        if i + 3 >= len(words) or words[i + 1] not in ("-", "–") or not self.ALPHA.match(words[i][-1:]):
            return False
        return words[i + 2].lower() == "li" or words[i + 2].lower().startswith("mail")

    def text(self, line: str, escaped: bool) -> str:
        """Return a line of tokens as plain text."""
        lang, text, space = self.lang, "", " "
        quotes: Counter[str] = Counter()
        line = f" {line} ".replace(" @-@ ", "-")
        words = (self.unescape_xml(line) if escaped else line).rstrip(" ").split(" ")
        rest = iter(range(len(words)))
        for i in rest:
            word = words[i]
            kind = None
            if not (word.isascii() and word[:1].isalnum()):  # most words are of no kind
                match = self.KIND.match(word)
                kind = match and match.lastgroup
            left = right = False  # whether no space stands on that side
            if kind == "cjk":
                left = lang != "ko" and i > 0 and bool(self.CJK.match(words[i - 1][-1:]))
            elif kind == "opening":
                right = True
            elif kind == "closing":
                left = True
                if lang == "fr" and word in list("?!:;\\%"):
                    text += " "
            elif (lang == "en" and self.is_contraction(words, i)) or (lang == "cs" and self.ends_number(words, i)):
                left = True
            elif lang in self.ELIDING and self.is_elision(words, i):
                right = True
            elif lang == "cs" and self.has_hyphen(words, i):
                word += words[next(rest)]
                right = True
            elif kind == "quote":
                sign = '"' if self.DOUBLE_QUOTES.fullmatch(word) else word
                if lang == "cs" and word in ("„", "“"):
                    quotes[sign] = int(word == "“")
                left = quotes[sign] % 2 == 1
                if lang == "en" and word == "'" and not left and i > 0 and words[i - 1].endswith("s"):
                    left = True  # the dogs'
                else:
                    right = not left
                    quotes[sign] += 1
            elif lang == "fi" and words[i - 1].endswith(":") and self.FINNISH_ENDING.fullmatch(word):
                left, word = True, word.lower()
            text += word if left else space + word
            space = "" if right else " "
        return re.sub(" +", " ", text).strip(" ")


def detokenizer(lang: str, escaped: bool = False) -> Lines:
    """Return the function from lines of tokens, with entities or not, to raw lines of a language: `tokenizer` undone.

    Spaces that the tokens do not tell are put where detokenizer.perl puts them. Like it, the function leaves a line of
    white space or one from < to > as it is.
    """
    moses = Detokenizer(lang)
    kept = lambda line: is_blank(line) or re.fullmatch("<.+>", line)  # noqa: E731
    return lambda lines: [line if kept(line) else moses.text(line, escaped) for line in lines]


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
