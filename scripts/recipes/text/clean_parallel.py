"""Keep the pairs of tokenized lines that Moses' clean-corpus-n.perl keeps, and the lines of other texts beside them."""

import contextlib
import re
import sys
from pathlib import Path

from recipes.cli import Parser, positive
from recipes.text.parallel import Sides, pairs

LONG_WORD = re.compile(r"\S{1001}")


def keeps(pair: tuple[str, str], shortest: int, longest: int, ratio: float) -> bool:
    """Whether clean-corpus-n.perl keeps the pair: by its numbers of tokens, and no word above 1,000 characters."""
    one, two = (len(line.split()) for line in pair)
    return (
        shortest <= min(one, two) > 0
        and max(one, two) <= longest
        and one / two <= ratio
        and two / one <= ratio
        and not any(len(line) > 1000 and LONG_WORD.search(line) for line in pair)
    )


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("prefix", type=Path, metavar="PREFIX", help="the files without .LANG; without | in them")
    parser.add_argument("--langs", nargs=2, required=True, metavar="LANG")
    parser.add_argument("--out-dir", type=Path, required=True)
    parser.add_argument("--beside", nargs=2, type=Path, action="append", default=[], metavar=("PREFIX", "OUT_DIR"))
    parser.add_argument("--min", type=positive, default=1, help="tokens a line (default: 1)")
    parser.add_argument("--max", type=positive, required=True, help="tokens a line")
    parser.add_argument("--ratio", type=float, default=1.5, help="longer to shorter line, at most (default: 1.5)")
    args = parser.parse_args()
    texts = [(args.prefix, args.out_dir), *args.beside]
    number = 0
    with contextlib.ExitStack() as stack:
        targets = [stack.enter_context(Sides(folder, prefix.name, args.langs)) for prefix, folder in texts]
        sources = [pairs(prefix, args.langs) for prefix, _ in texts]
        for lines in zip(*sources, strict=True):
            number += 1
            if keeps(lines[0], args.min, args.max, args.ratio):
                targets[0].write(" ".join(line.split()) for line in lines[0])
                for target, pair in zip(targets[1:], lines[1:], strict=True):
                    target.write(pair)
    name, kept = args.prefix.name, targets[0].count
    if not kept:
        sys.exit(f"{name}: none of its {number} pairs has {args.min} to {args.max} tokens a side and a ratio in range")
    print(f"{name}: {kept} of {number} pairs kept")


if __name__ == "__main__":
    main()
