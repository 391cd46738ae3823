"""Plain text of tokens, as users read it and as sacreBLEU scores it."""

import re

from recipes.text.moses import detokenizer

# Ideographs, kana, CJK punctuation and full-width forms. A space beside one of them is not part of the plain text.
_CJK = "[\u2e80-\u312f\u3190-\u4dbf\u4e00-\ua4cf\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003134f]"
_SPACE_AT_CJK = re.compile(f"(?<={_CJK}) +| +(?={_CJK})")


def plain_text(tokens: list[str], lang: str, escaped: bool) -> list[str]:
    """Return lines of Moses tokens, with its escapes (&apos; for ') or not, or of segmented Chinese as plain text."""
    text = detokenizer(lang, escaped)(tokens)
    return [_SPACE_AT_CJK.sub("", line) for line in text] if lang == "zh" else text
