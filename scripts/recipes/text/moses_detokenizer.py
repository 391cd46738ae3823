"""detokenizer.perl of Moses: sacremoses' detokenizer, corrected."""

import re
from collections import Counter

import regex
from sacremoses import MosesDetokenizer


class Detokenizer(MosesDetokenizer):
    """detokenizer.perl in Python. sacremoses looks at wrong words in Czech and Finnish, and splits at any space."""

    CJK = re.compile(
        "[\u1100-\u11ff\u2e80-\ua4cf\ua840-\ua87f\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff65-\uffdc\U00020000-\U0002ffff]"
    )
    KIND = regex.compile(
        rf"(?P<cjk>{CJK.pattern})|(?:(?P<opening>[\p{{Sc}}(\[{{¿¡]+)|(?P<closing>[,.?!:;\\%}}\])]+)|(?P<quote>['\"„“`]+))$"
    )
    ALPHA, ALNUM = regex.compile(r"\p{Alphabetic}"), regex.compile(r"[\p{Alphabetic}\p{Nd}]")
    DOUBLE_QUOTES, NUMBER = re.compile("[„“]+"), re.compile("[0-9]+")
    FINNISH_ENDING = re.compile(
        "({})({})?({})?".format(
            *("|".join(getattr(MosesDetokenizer, f"FINNISH_MORPHSET_{number}")) for number in (1, 2, 3))
        )
    )
    # Languages with words like l'. detokenizer.perl joins them in the first two alone; it leaves a space in the others.
    ELIDING = ("fr", "it", "ca", "ga")

    def is_contraction(self, words: list[str], i: int) -> bool:
        """Return whether an English word is one like 's, which is joined to the word before it."""
        return words[i].startswith("'") and bool(
            i > 0 and self.ALPHA.match(words[i][1:]) and self.ALNUM.match(words[i - 1][-1:])
        )

    def ends_number(self, words: list[str], i: int) -> bool:
        """Return whether a Czech word is the last of three that were one number with a point or a comma."""
        return i > 1 and words[i - 1] in (".", ",") and all(map(self.NUMBER.fullmatch, words[i - 2 : i + 1 : 2]))

    def is_elision(self, words: list[str], i: int) -> bool:
        """Return whether a word is one like l', which is joined to the word after it."""
        return words[i].endswith("'") and bool(
            i + 1 < len(words) and self.ALPHA.match(words[i][-2:-1]) and self.ALPHA.match(words[i + 1])
        )

    def has_hyphen(self, words: list[str], i: int) -> bool:
        """Return whether a hyphen joins a Czech word to the next, as in je-li and e-mail, and one more word follows."""
        if i + 3 >= len(words) or words[i + 1] not in ("-", "–") or not self.ALPHA.match(words[i][-1:]):
            return False
        return words[i + 2].lower() == "li" or words[i + 2].lower().startswith("mail")

    def text(self, line: str, escaped: bool) -> str:
        """Return a line of tokens, with entities if they are escaped, as plain text."""
        lang, text, space = self.lang, "", " "
        quotes: Counter[str] = Counter()
        line = f" {line} ".replace(" @-@ ", "-")
        words = (self.unescape_xml(line) if escaped else line).rstrip(" ").split(" ")
        rest = iter(range(len(words)))
        for i in rest:
            word = words[i]
            kind = None
            if not (word.isascii() and word[:1].isalnum()):  # most words are of no kind
                match = self.KIND.match(word)
                kind = match and match.lastgroup
            left = right = False  # whether the word is joined to the one before it, and to the one after it
            if kind == "cjk":
                left = lang != "ko" and i > 0 and bool(self.CJK.match(words[i - 1][-1:]))
            elif kind == "opening":
                right = True
            elif kind == "closing":
                left = True
                if lang == "fr" and word in list("?!:;\\%"):
                    text += " "
            elif (lang == "en" and self.is_contraction(words, i)) or (lang == "cs" and self.ends_number(words, i)):
                left = True
            elif lang in self.ELIDING and self.is_elision(words, i):
                right = True
            elif lang == "cs" and self.has_hyphen(words, i):
                word += words[next(rest)]
                right = True
            elif kind == "quote":
                sign = '"' if self.DOUBLE_QUOTES.fullmatch(word) else word
                if lang == "cs" and word in ("„", "“"):
                    quotes[sign] = int(word == "“")
                left = quotes[sign] % 2 == 1
                if lang == "en" and word == "'" and not left and i > 0 and words[i - 1].endswith("s"):
                    left = True  # the dogs'
                else:
                    right = not left
                    quotes[sign] += 1
            elif lang == "fi" and words[i - 1].endswith(":") and self.FINNISH_ENDING.fullmatch(word):
                left, word = True, word.lower()
            text += word if left else space + word
            space = "" if right else " "
        return re.sub(" +", " ", text).strip(" ")
