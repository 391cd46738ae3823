"""Keep the pairs of tokenized lines that Moses' clean-corpus-n.perl keeps."""

import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from recipes.text.parallel import Sides, pairs

RATIO = 1.5  # of the longer to the shorter line in tokens, at most
LONG_WORD = re.compile(r"\S{1001}")


def keeps(pair: tuple[str, str], longest: int) -> bool:
    """Return whether both lines have 1 to `longest` tokens in a ratio up to RATIO, of up to 1,000 characters each."""
    less, more = sorted(len(line.split()) for line in pair)
    has_long_word = any(len(line) > 1000 and LONG_WORD.search(line) for line in pair)
    return less > 0 and more <= longest and more / less <= RATIO and not has_long_word


def clean(
    prefix: Path, langs: Sequence[str], out_dir: Path, longest: int, *, beside: Iterable[tuple[Path, Path]] = ()
) -> None:
    """Copy the pairs of PREFIX.LANG that clean-corpus-n.perl keeps to a folder, and print how many.

    The tokens must hold no |, which clean-corpus-n.perl reads in a way of its own. Exit if no pair is kept.

    Args:
        longest: the number of tokens that a line may have.
        beside: other texts, each a prefix and a folder, of which the pairs with the same line numbers are copied.
    """
    texts = [(prefix, out_dir), *beside]
    number = 0
    with ExitStack() as stack:
        targets = [stack.enter_context(Sides(folder, text.name, langs)) for text, folder in texts]
        for lines in zip(*(pairs(text, langs) for text, _ in texts), strict=True):
            number += 1
            if keeps(lines[0], longest):
                targets[0].write(" ".join(line.split()) for line in lines[0])
                for target, pair in zip(targets[1:], lines[1:], strict=True):
                    target.write(pair)
    kept = targets[0].count
    if not kept:
        sys.exit(f"{prefix.name}: none of its {number} pairs has 1 to {longest} tokens a side and a ratio in range")
    print(f"{prefix.name}: {kept} of {number} pairs kept")
