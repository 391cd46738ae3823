"""Languages that write no spaces between words: what makes words of their text, and how words become text again.

Chinese is segmented by jieba, Japanese by MeCab with the IPA dictionary, which sacreBLEU's tokenizer ja-mecab uses too.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping

Cut = Callable[[str], Iterable[str]]
# Languages by other codes than the first part of a name such as zh_CN.
_CODES = dict(
    pair.split(":") for pair in "zho:zh cmn:zh jpn:ja kor:ko tha:th lao:lo khm:km mya:my bod:bo dzo:dz".split()
)
# Ideographs, kana, CJK punctuation and full-width forms. A space beside one of them is not part of the plain text.
_CJK = "[\u2e80-\u312f\u3190-\u4dbf\u4e00-\ua4cf\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003134f]"
# Thai, Lao, Tibetan, Burmese and Khmer. Their spaces part phrases, and stand beside numbers and other scripts.
_SOUTH_EAST = "[\u0e00-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f]"
_SPACE_AT_CJK = re.compile(f"(?<={_CJK}) +| +(?={_CJK})")
_SPACE_IN_SOUTH_EAST = re.compile(f"(?<={_SOUTH_EAST}) +(?={_SOUTH_EAST})")

UNSEGMENTED = ("th", "lo", "km", "my", "bo", "dz")  # there is no segmenter for these
WITHOUT_SPACES = ("zh", "ja", *UNSEGMENTED)
# Runs of characters without a space, in scripts whose languages write none, and in Korean, which has spaces. The number
# is the longest that they are on average in text that is segmented: words of jieba have 1.6 characters, words of Thai 4
# to 5. Without spaces between words a run is a phrase or a sentence.
_RUNS = {
    "east": (re.compile(f"(?:{_CJK}|[\u1100-\u11ff\uac00-\ud7af])+"), 6),
    "south": (re.compile(f"{_SOUTH_EAST}+"), 10),
}


def base(lang: str) -> str:
    """Return the two letters of a language of this module, as zh for zh_CN or zho_Hans; of others the first part."""
    first = lang.split("_")[0].split("-")[0].lower()
    return _CODES.get(first, first)


def _jieba() -> Cut:
    """Return jieba's function from a line of Chinese to its words."""
    import jieba

    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    return jieba.cut


def _mecab() -> Cut:
    """Return MeCab's function from a line of Japanese to its words."""
    import ipadic
    import MeCab

    tagger = MeCab.Tagger(f"{ipadic.MECAB_ARGS} -Owakati")
    return lambda line: tagger.parse(line).split()


SEGMENTERS: dict[str, Callable[[], Cut]] = {"zh": _jieba, "ja": _mecab}
MODULES = {"zh": ("jieba",), "ja": ("MeCab", "ipadic")}  # that a segmenter imports


def words(lang: str) -> Callable[[str], str]:
    """Return the function from a line of a language of SEGMENTERS to its words, with a space between two of them."""
    cut = SEGMENTERS[base(lang)]()
    return lambda line: " ".join(" ".join(cut(line)).split())


def characters(line: str) -> str:
    """Return the characters of a line that are no white space, with a space between two of them."""
    return " ".join("".join(line.split()))


def spaces(lang: str) -> re.Pattern[str] | None:
    """Return the pattern of the spaces between words that the text of a language does not have, None if it has all."""
    if base(lang) in SEGMENTERS:
        return _SPACE_AT_CJK
    return _SPACE_IN_SOUTH_EAST if base(lang) in UNSEGMENTED else None


def join(lines: list[str], lang: str) -> list[str]:
    """Return lines of words as text: in a language without spaces, without the spaces between its words."""
    between = spaces(lang)
    return [between.sub("", line) for line in lines] if between else lines


def runs(line: str) -> dict[str, int]:
    """Return how many characters a line has, and in each kind of script its runs and their characters."""
    found = {"characters": len("".join(line.split()))}
    if not line.isascii():
        for kind, (run, _) in _RUNS.items():
            lengths = [len(text) for text in run.findall(line)]
            found |= {f"{kind} runs": len(lengths), f"{kind} characters": sum(lengths)}
    return found


def is_unsegmented(counted: Mapping[str, int]) -> bool:
    """Return whether a text with these sums of `runs` is mostly in such a script, and nobody segmented it."""
    for kind, (_, longest) in _RUNS.items():
        number, length = counted.get(f"{kind} runs", 0), counted.get(f"{kind} characters", 0)
        if 2 * length > counted["characters"] and length > longest * number:
            return True
    return False
