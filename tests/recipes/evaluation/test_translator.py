"""From raw text to a translation with a made-up engine: lines that are cut, empty lines, several hypotheses."""

import pytest
from recipes.evaluation.decoding import Hypothesis
from recipes.evaluation.line_stream import Line
from recipes.evaluation.translator import Translator, halve, join


class Upper:
    """An engine that writes capitals. The hypotheses of a line end in their ranks; the score is minus the rank."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.given: list[str] = []

    def translate(self, lines, how, nbest):
        self.given += lines
        assert all(0 < len(line.split()) < self.longest for line in lines)
        length = lambda line: len(line.split()) + 1  # noqa: E731
        return [
            [Hypothesis(f"{line.upper()}@@ {rank}", -rank, length(line)) for rank in range(nbest)] for line in lines
        ]


def translator(longest=10, nbest=1):
    """Return a translator whose subwords are letters, and what it notes."""
    notes = []
    encode = lambda lines: [" ".join(line.replace(" ", "_").strip("_")) for line in lines]  # noqa: E731
    decode = lambda lines: [line.replace("@@ ", "").replace(" ", "").replace("_", " ") for line in lines]  # noqa: E731
    return Translator(Upper(longest), encode, decode, {}, nbest, notes.append), notes


def lines_of(*texts):
    return [Line(text, "text.de", number) for number, text in enumerate(texts, start=1)]


def test_empty_lines_stay_empty_and_are_not_given_to_the_engine():
    made, notes = translator()
    assert made.translate(lines_of("ab", "", "  ", "c d")) == [[("AB0", 0)], [("", 0)], [("", 0)], [("C D0", 0)]]
    assert made.engine.given == ["a b", "c _ d"] and notes == []
    assert made.translate(lines_of("", "")) == [[("", 0)], [("", 0)]]


def test_several_hypotheses_of_a_line_and_of_an_empty_one():
    made, _ = translator(nbest=2)
    assert made.translate(lines_of("ab", "")) == [[("AB0", 0), ("AB1", -1)], [("", 0), ("", 0)]]


def test_a_line_that_is_too_long_is_cut_after_sentences_and_its_number_is_told():
    made, notes = translator(longest=9)
    assert [of_line[0].text for of_line in made.translate(lines_of("ab", "abc. Def? gh i.", "abcdefgh"))] == [
        "AB0",
        "ABC.0DEF?0GH I.0",
        "ABCDEFGH0",
    ]
    assert made.engine.given[1:4] == ["a b c .", "D e f ?", "g h _ i ."]
    assert notes == ["text.de: line 2 is longer than the model's 9 positions: translated in 3 parts"]


@pytest.mark.parametrize(
    "text, halves",
    [
        ("One. Two three four five.", ("One. ", "Two three four five.")),
        ('He said "no." Then he left us.', ('He said "no." ', "Then he left us.")),
        ("我爱北京。天安门上太阳升。", ("我爱北京。", "天安门上太阳升。")),
        ("three 3.14 words", ("three ", "3.14 words")),
        ("abcde", ("ab", "cde")),
        ("a", None),
    ],
)
def test_where_a_text_is_cut(text, halves):
    assert halve(text) == halves


def test_a_character_with_too_many_subwords_is_refused_with_its_line():
    made, _ = translator(longest=1)
    with pytest.raises(
        SystemExit, match=r"^text\.de: line 1 cannot be cut into parts: .* than the model's 1 positions$"
    ):
        made.translate(lines_of("ab"))


def test_the_score_of_a_line_that_was_cut_is_the_mean_weighted_by_lengths():
    parts = [[Hypothesis("a b", -1.0, 3), Hypothesis("a", -2.0, 2)], [Hypothesis("c", -5.0, 1)]]
    assert join(parts, 0) == ("a b c", -2.0, 4)  # (3 * -1 + 1 * -5) / 4
    assert join(parts, 1) == ("a c", -3.0, 3)  # the only hypothesis of the second part: (2 * -2 + 1 * -5) / 3
