"""Write tables in Markdown."""


def markdown_table(rows: list[list[str]]) -> str:
    """Return a Markdown table. The first row is the header. The cells are padded, so that the text is easy to read."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in padded]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"
