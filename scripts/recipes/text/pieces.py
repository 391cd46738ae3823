"""How pieces stand for a text, spaces included: SentencePiece's sign for a space. It needs no package."""

SPACE = "\u2581"  # it stands for a space, at the start of a piece


def one_space(line: str) -> str:
    """Return a line with one space for white space of any kind: fairseq would split pieces at the others."""
    return " ".join(line.split())


def join(lines: list[str]) -> list[str]:
    """Return lines of pieces as text, as fairseq joins them with --post-process sentencepiece."""
    return [line.replace(" ", "").replace(SPACE, " ").strip() for line in lines]
