"""tokenizer.perl of Moses: sacremoses' tokenizer, corrected."""

import re
from typing import ClassVar

import regex
from sacremoses import MosesTokenizer
from sacremoses.tokenize import nonbreaking_prefixes

# Signs that stand inside words, as in EU:n and col·lecció. tokenizer.perl splits one off if no small letter follows.
# It reads the two bytes of the Catalan · as two characters, so it splits off only the · of a broken encoding.
INNER_SIGN = {"fi": ":", "sv": ":", "ca": "Â·", "tdt": "'"}

# Lines of Moses' lists of abbreviations that end in a space. No word equals them, but sacremoses strips the space.
NO_ABBREVIATIONS = {
    **{lang: {"ভি"} for lang in ("as", "bn", "mni")},
    "es": {"Fil", "gr"},
    "it": {"Amn", "Arch", "all", "es"},
    "ml": {"പി"},
    "nl": {"Nrs"},
    "sk": {"Pf"},
    "sv": {"Ö"},
}


class Tokenizer(MosesTokenizer):
    """sacremoses' tokenizer with the rules of tokenizer.perl that it lacks, and with its slow parts made quick."""

    # sacremoses' lists of letters and numbers lack many scripts, such as Chinese.
    CLASSES: ClassVar[dict[str, str]] = {
        MosesTokenizer.IsAlnum: r"\p{Alphabetic}\p{Nd}",
        MosesTokenizer.IsAlpha: r"\p{Alphabetic}",
        MosesTokenizer.IsN: r"\p{N}",
    }
    ALPHA, LOWER = regex.compile(r"\p{Alphabetic}"), regex.compile(r"\p{Lowercase}*")

    def __init__(self, lang: str) -> None:
        super().__init__()  # with lang it would compile long lists for Japanese and Korean, which are not used here
        self.lang = "it" if lang in ("ca", "ga", "so", "tdt") else lang  # for the rules of the apostrophe
        sign = INNER_SIGN.get(lang, "")
        split_sign = rf"|{sign}(?=$|[^\p{{Ll}}])" if sign else ""
        self.PAD_NOT_ISALNUM = regex.compile(rf"([^\p{{Alphabetic}}\p{{Nd}}\s.'`,\-{sign}]{split_sign})"), r" \1 "
        for name in ("AGGRESSIVE_HYPHEN_SPLIT", *(f"COMMA_SEPARATE_{n}" for n in (1, 2, 3))):
            setattr(self, name, self.with_classes(getattr(MosesTokenizer, name)))
        for name in ("ENGLISH_SPECIFIC_APOSTROPHE", "FR_IT_SPECIFIC_APOSTROPHE"):
            setattr(self, name, [self.with_classes(rule) for rule in getattr(self, name)])
        if lang in ("so", "tdt"):  # their apostrophe between letters is a sound: without the last rule it is not split
            self.FR_IT_SPECIFIC_APOSTROPHE.pop()
        # If a list has an abbreviation twice, the last one counts.
        prefixes = (line.partition(" #NUMERIC_ONLY#") for line in nonbreaking_prefixes.words(lang))
        only_before_numbers = {prefix: bool(mark) for prefix, mark, _ in prefixes}
        self.NONBREAKING_PREFIXES = only_before_numbers.keys() - NO_ABBREVIATIONS.get(lang, set())
        self.NUMERIC_ONLY_PREFIXES = {prefix for prefix, only in only_before_numbers.items() if only}

    def with_classes(self, rule: tuple[re.Pattern[str], str]) -> tuple[regex.Pattern[str], str]:
        """Return a rule, a pattern and its replacement, with Perl's character classes in place of sacremoses' lists."""
        pattern = rule[0].pattern
        for chars, name in self.CLASSES.items():
            pattern = pattern.replace(chars, name)
        return regex.compile(pattern), rule[1]

    def islower(self, text: str) -> bool:
        return bool(self.LOWER.fullmatch(text))

    def isanyalpha(self, text: str) -> bool:
        return bool(self.ALPHA.search(text))

    def handles_nonbreaking_prefixes(self, text: str) -> str:
        # The last word of a line loses its period, whatever stands before it: abbreviation, number or letter.
        return re.sub(r"(?<=\S)\.$", " .", super().handles_nonbreaking_prefixes(text))
