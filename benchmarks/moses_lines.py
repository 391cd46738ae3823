"""Count the lines of texts in which tokens, and the text of tokens, differ from those of Moses' own Perl scripts.

python benchmarks/moses_lines.py --moses DIR [--workers N] FILE...

DIR is a checkout of Moses. The language of a FILE is the ending of its name, and a folder stands for the files in it.
The columns count the lines that differ in the tokens of the IWSLT recipes (with entities), in those of WMT14 (also
normalized and split at hyphens), in the plain text of the former, and in the tokens of sacremoses without corrections.
Chinese words are always jieba's. The last line names the languages for which the checkout has a list of abbreviations,
but for which there is no FILE.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import measure  # noqa: F401  (finds the package recipes)
from recipes import cli
from recipes.text.line_pool import LinePool
from recipes.text.moses import TOKENIZERS, Rules, detokenizer, language, perl, tokenizer
from sacremoses import MosesTokenizer

IWSLT = Rules(escape=True)
WMT14 = Rules(normalize=True, aggressive=True, escape=True)
LISTS = Path("scripts/share/nonbreaking_prefixes")  # in a checkout of Moses
NO_LIST = {"ja", "ko", "so"}  # languages that its Perl scripts know, for which they take the English list


def counter(lang: str, moses: Path) -> Callable[[list[str]], list[int]]:
    """Return the function from lines to the number of lines, and to the number that differ for each other column."""
    ours = [tokenizer(lang, IWSLT), tokenizer(lang, WMT14), detokenizer(lang, escaped=True)]
    theirs = [
        tokenizer(lang, IWSLT, moses),
        tokenizer(lang, WMT14, moses),
        perl(moses / TOKENIZERS / "detokenizer.perl", "-q", "-l", lang),
    ]
    plain = functools.partial(MosesTokenizer(lang).tokenize, return_str=True)

    def count(lines: list[str]) -> list[int]:
        tokens = theirs[0](lines)
        texts = (lines, lines, tokens)
        compared = [(one(text), other(text)) for one, other, text in zip(ours, theirs, texts, strict=True)]
        compared.append(([plain(line) for line in lines], tokens))
        return [len(lines), *(sum(map(str.__ne__, one, two)) for one, two in compared)]

    return count


def main() -> None:
    """Count, and print the table."""
    parser = cli.Parser(__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--moses", type=Path, required=True, metavar="DIR")
    parser.add_argument("--workers", type=cli.positive, default=2)
    args = parser.parse_args()
    files = [file for path in args.files for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    print("| file | lines | IWSLT | WMT14 | plain text | sacremoses itself |", "| --- " * 6 + "|", sep="\n")
    for file in files:
        with LinePool(functools.partial(counter, language(file), args.moses), args.workers) as pool:
            total = [sum(numbers) for numbers in zip(*pool.results(file, file.name), strict=True)]
        print(f"| {file.name} | {' | '.join(f'{number:,}' for number in total)} |", flush=True)
    known = NO_LIST | {language(file) for file in (args.moses / LISTS).glob("nonbreaking_prefix.*")}
    print(f"no text: {' '.join(sorted(known - set(map(language, files)))) or 'of no language'}")


if __name__ == "__main__":
    main()
