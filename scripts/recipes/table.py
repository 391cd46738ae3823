"""Write tables in Markdown."""

from collections.abc import Sequence
from statistics import mean, stdev


def spread(values: Sequence[float], decimals: int = 2) -> str:
    """Return a text with the mean and the standard deviation, with the value if there is one, or "-"."""
    if not values:
        return "-"
    text = f"{mean(values):.{decimals}f}"
    return f"{text} ± {stdev(values):.{decimals}f}" if len(values) > 1 else text


def p_text(p: float) -> str:
    """Return a p-value as a text. One that rounds to 0 is not called 0."""
    text = f"{p:.4f}"
    return text if float(text) else "< 0.0001"


def markdown_table(rows: list[list[str]]) -> str:
    """Return a Markdown table. The first row is the header. The cells are padded, so that the text is easy to read."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in padded]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"
