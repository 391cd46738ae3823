"""recipes/text/looks.py: text that looks tokenized or escaped, and tokens with Moses' escapes."""

from pathlib import Path

import pytest
from recipes.text import looks

PLAIN = ["I don't know.", 'He said "no", R&D & more [x]', "Wait ... what?", "AT&T;", "3.5, 4 . 5"]


def seen(folder: Path, lines: list[str]) -> looks.Look:
    text = folder / "train.en"
    text.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return looks.look([text], 1)[text]


@pytest.mark.parametrize(
    "line",
    [
        "i &apos;m here",
        "R &amp; D",
        "a &#91; b",
        "a dog , two cats",
        "the end .",
        "it 's so",
        "我 爱 你 。",
        "AT&amp;T",
    ],
)
def test_a_line_that_looks_tokenized_or_escaped(tmp_path: Path, line: str) -> None:
    found = seen(tmp_path, [*["A line."] * 9, line])
    assert (found.made, found.example) == (1, "line 10")


def test_plain_text_does_not(tmp_path: Path) -> None:
    assert seen(tmp_path, PLAIN * 30).made == 30  # the last of them looks so: a sixth of the lines
    assert seen(tmp_path, [*PLAIN[:4] * 10, PLAIN[4]]).made == 0


def test_a_few_lines_are_no_warning_and_the_first_is_named(tmp_path: Path) -> None:
    """Also where it is in a later chunk of lines than the first."""
    few = ["A line."] * 5000 + ["the end ."] * 250
    assert seen(tmp_path, few).made == 0
    found = seen(tmp_path, [*few, *["the end ."] * 30])
    assert (found.made, found.example) == (280, "line 5001")
    assert seen(tmp_path, ["A line."] * 5000 + ["&quot;"] * 20).made == 0
    assert seen(tmp_path, ["A line."] * 5000 + ["&quot;"] * 30).made == 30


def test_whether_tokens_are_escaped(tmp_path: Path) -> None:
    assert seen(tmp_path, ["i &apos;m", "a &quot; b", "it 's"]).escaped
    assert not seen(tmp_path, ["i &apos;m", 'a " b', "it 's"]).escaped
    assert not seen(tmp_path, ["no sign", "R & D"]).escaped


def test_whether_a_text_is_segmented(tmp_path: Path) -> None:
    assert seen(tmp_path, ["我爱北京天安门。"] * 3).unsegmented
    assert not seen(tmp_path, ["我 爱 北京 天安门 。"] * 3).unsegmented
