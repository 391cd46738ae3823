"""Draw figures by matplotlib, where it is installed."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recipes.files import whole_file
from recipes.quiet import quiet


def draw_figure(path: Path, size: tuple[float, float], draw: Callable[[Any], None]) -> bool:
    """Write a figure to a PNG file. If matplotlib is not installed, print a line, and remove an earlier figure.

    Args:
        size: width and height in inches.
        draw: is called with the empty figure of matplotlib. A $ in a text is a $.

    Returns:
        Whether the figure was drawn.
    """
    path.unlink(missing_ok=True)
    with quiet():  # matplotlib logs how it looks for fonts
        try:
            from matplotlib import rc_context
            from matplotlib.figure import Figure
        except ImportError:
            print(f"matplotlib is not installed: no {path.name}", file=sys.stderr)
            return False
        figure = Figure(figsize=size, layout="constrained")
        with rc_context({"text.parse_math": False}):
            draw(figure)
            with whole_file(path) as part:
                figure.savefig(part, format="png", dpi=120)
    return True
