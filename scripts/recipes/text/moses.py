"""Moses tokens of a text and back, line by line.

sacremoses does the work, corrected where it differs from Moses' Perl scripts. If a checkout of Moses is given, its
scripts make the tokens. Languages that write no spaces between words are segmented.
"""

import functools
import re
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import regex
from sacremoses import MosesPunctNormalizer, MosesTokenizer

from recipes.text import segment
from recipes.text.line_pool import map_files
from recipes.text.moses_detokenizer import Detokenizer
from recipes.text.moses_tokenizer import Tokenizer

Lines = Callable[[list[str]], list[str]]
TOKENIZERS = Path("scripts/tokenizer")  # in a checkout of Moses


@dataclass(frozen=True)
class Rules:
    """How a text becomes tokens."""

    normalize: bool = False  # the punctuation, and replace characters that do not print
    aggressive: bool = False  # split at hyphens too, as tokenizer.perl -a does
    escape: bool = False  # write entities for & | < > ' " [ ], as tokenizer.perl does
    lowercase: bool = False
    made: bool = False  # the text is tokens already, and stays as it is
    characters: bool = False  # without a segmenter for a language that writes no spaces, each character is a token


# These are white space for Python, but not for Perl: tokenizer.perl deletes them with the other control characters.
_PYTHON_SPACES = dict.fromkeys(range(0x1C, 0x20))


def is_blank(line: str) -> bool:
    """Return whether Perl sees only white space in a line. Moses' scripts leave such a line unchanged."""
    return not line.strip() and line.translate(_PYTHON_SPACES) == line


def moses_tokens(lang: str, rules: Rules) -> Lines:
    """Return the function from lines to lines of tokens that does what tokenizer.perl does, with the rules."""
    moses = Tokenizer(lang)
    options = {"escape": rules.escape, "aggressive_dash_splits": rules.aggressive}
    tokens = functools.partial(moses.tokenize, return_str=True, **options)
    return lambda lines: [line if is_blank(line) else tokens(line.translate(_PYTHON_SPACES)) for line in lines]


def segmented(lang: str, rules: Rules) -> Lines:
    """Return the function from lines to lines of words, with Moses' entities if the rules ask for them."""
    words = segment.words(lang)
    escape = MosesTokenizer().escape_xml if rules.escape else str
    return lambda lines: [escape(words(line)) for line in lines]


def normalizer(lang: str) -> Lines:
    """Return the function that does what `normalize-punctuation.perl LANG | remove-non-printing-char.perl` does."""
    moses = MosesPunctNormalizer(lang, perl_parity=True)
    if lang not in ("en", "cs", "cz", "de", "es", "fr"):
        # The Perl script treats these languages like German. sacremoses treats only de, es and fr like that.
        moses.substitutions[-1:-1] = moses.DE_ES_FR_QUOTATION_FOLLOWED_BY_COMMA
    # The Perl script reads bytes, so \d and \s match ASCII alone, and it reads each line with its end.
    rules = [(re.compile(pattern, re.ASCII), text) for pattern, text in moses.substitutions]
    # A character that does not print becomes a space. sacremoses would delete it.
    unprinted = regex.compile(r"\p{C}")

    def normalize(line: str) -> str:
        line += "\n"
        for pattern, text in rules:
            line = pattern.sub(text, line)
        return unprinted.sub(" ", line.removesuffix("\n"))

    return lambda lines: [normalize(line) for line in lines]


def lower(lines: list[str]) -> list[str]:
    """Return the lines as lowercase.perl gives them. Unlike Python, Perl has no special rule for a final sigma."""
    return [line.replace("Σ", "σ").lower() for line in lines]


def perl(script: Path, *options: str) -> Lines:
    """Return the function that runs a Perl script on lines. It raises OSError if one gets lost, or the script fails."""

    def run(lines: list[str]) -> list[str]:
        text = "".join(f"{line}\n" for line in lines)
        done = subprocess.run(["perl", script, *options], input=text.encode(), capture_output=True, check=False)
        made = done.stdout.decode().split("\n")[:-1]
        if done.returncode or len(made) != len(lines):
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise OSError(f"{script}: {said[-1] if said else f'{len(made)} lines for {len(lines)}'}")
        return made

    return run


def tokenizer(lang: str, rules: Rules = Rules(), moses: Path | None = None) -> Lines:
    """Return the function from raw lines of a language to lines of tokens."""
    stages: list[Lines] = []
    if rules.normalize and moses:
        stages.append(perl(moses / TOKENIZERS / "normalize-punctuation.perl", lang))
        stages.append(perl(moses / TOKENIZERS / "remove-non-printing-char.perl"))
    elif rules.normalize:
        stages.append(normalizer(lang))
    if rules.made:
        stages.append(lambda lines: [" ".join(line.split()) for line in lines])
    elif segment.base(lang) in segment.SEGMENTERS:
        stages.append(segmented(lang, rules))
    elif rules.characters and segment.base(lang) in segment.UNSEGMENTED:
        stages.append(lambda lines: list(map(segment.characters, lines)))
    elif moses:
        options = ["-q", "-l", lang, *(["-a"] if rules.aggressive else []), *([] if rules.escape else ["-no-escape"])]
        stages.append(perl(moses / TOKENIZERS / "tokenizer.perl", *options))
    else:
        stages.append(moses_tokens(lang, rules))
    if rules.lowercase:
        stages.append(lower)
    return lambda lines: functools.reduce(lambda made, stage: stage(made), stages, lines)


def detokenizer(lang: str, escaped: bool = False) -> Lines:
    """Return the function from lines of tokens to plain lines of a language, the inverse of `tokenizer`.

    The tokens do not tell all spaces. The function decides like detokenizer.perl, and like it leaves a line alone that
    is white space or that goes from < to >. It reads entities such as &apos; if the tokens are escaped.
    """
    moses = Detokenizer(lang)
    kept = lambda line: is_blank(line) or re.fullmatch("<.+>", line)  # noqa: E731
    return lambda lines: [line if kept(line) else moses.text(line, escaped) for line in lines]


def plain_text(tokens: list[str], lang: str, escaped: bool) -> list[str]:
    """Return lines of tokens, with Moses' escapes (&apos; for ') or not, as plain text, with segmented words joined."""
    return segment.join(detokenizer(lang, escaped)(tokens), lang)


def language(file: Path) -> str:
    """Return the language of a file: the ending of its name, without the dot."""
    return file.suffix[1:]


def tokenize(files: Iterable[Path], out_dir: Path, workers: int, rules: Rules, moses: Path | None = None) -> None:
    """Write the tokens of texts to files of the same names in a folder. The ending of each name is its language."""
    for lang, texts in groupby(sorted(files, key=language), key=language):
        map_files(functools.partial(tokenizer, lang, rules, moses), texts, out_dir, workers)


def lowercase(files: Iterable[Path], out_dir: Path, workers: int, moses: Path | None = None) -> None:
    """Write texts in lower case to files of the same names in a folder."""
    map_files(lambda: perl(moses / TOKENIZERS / "lowercase.perl") if moses else lower, files, out_dir, workers)
