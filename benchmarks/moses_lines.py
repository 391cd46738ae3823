"""In how many lines of a text the tokens differ from those of Moses' own Perl scripts.

python benchmarks/moses_lines.py --moses DIR [--workers N] FILE...

DIR is a checkout of Moses; the language of a FILE is the ending of its name. Counted are the tokens that the recipes of
IWSLT take (with entities), those of WMT14 (also normalized and split at hyphens), and those of sacremoses as it comes.
"""

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from line_pool import LinePool
from moses import Rules, language, tokenizer
from sacremoses import MosesTokenizer

IWSLT = Rules(escape=True)
WMT14 = Rules(normalize=True, aggressive=True, escape=True)


def counter(lang: str, moses: Path) -> Callable[[list[str]], list[int]]:
    """Return the function to the number of lines and of those that differ: IWSLT, WMT14, sacremoses as it comes."""
    ours = [tokenizer(lang, rules) for rules in (IWSLT, WMT14)]
    perl = [tokenizer(lang, rules, moses) for rules in (IWSLT, WMT14)]
    plain = functools.partial(MosesTokenizer(lang).tokenize, return_str=True)

    def count(lines: list[str]) -> list[int]:
        expected = [make(lines) for make in perl]
        made = [make(lines) for make in ours]
        compared = [*zip(made, expected, strict=True), ([plain(line) for line in lines], expected[0])]
        return [len(lines), *(sum(map(str.__ne__, one, two)) for one, two in compared)]

    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--moses", type=Path, required=True, metavar="DIR")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    print("| file | lines | IWSLT | WMT14 | sacremoses as it comes |\n| --- | --- | --- | --- | --- |")
    for file in args.files:
        with LinePool(functools.partial(counter, language(file), args.moses), args.workers) as pool:
            total = [sum(numbers) for numbers in zip(*pool.results(file, file.name), strict=True)]
        print(f"| {file.name} | {' | '.join(f'{number:,}' for number in total)} |")


if __name__ == "__main__":
    main()
