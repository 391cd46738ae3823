"""Split a text into its characters, as for Chinese, so that they give the text again."""

from collections.abc import Callable
from pathlib import Path

from recipes.text.pieces import SPACE, join, one_space

__all__ = ["applier", "join"]


def applier(codes: Path) -> Callable[[list[str]], list[str]]:
    """Return the function from lines of text to lines of characters. A space is SPACE; `codes` are not needed."""
    return lambda lines: [" ".join(one_space(line).replace(" ", SPACE)) for line in lines]
