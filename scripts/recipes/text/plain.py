"""Plain text of tokens, as users read it and as sacreBLEU scores it."""

from recipes.text import segment
from recipes.text.moses import detokenizer


def plain_text(tokens: list[str], lang: str, escaped: bool) -> list[str]:
    """Return lines of tokens, with Moses' escapes (&apos; for ') or not, as plain text, with segmented words joined."""
    return segment.join(detokenizer(lang, escaped)(tokens), lang)
