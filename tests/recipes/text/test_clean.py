"""recipes/text/clean.py: pairs are kept by the rules of clean-corpus-n.perl."""

from pathlib import Path

import pytest
from recipes.text.clean import clean

LANGS = ("de", "en")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return an empty folder."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def write(prefix: Path, *pairs: tuple[str, str]) -> None:
    for lang, side in zip(LANGS, zip(*pairs, strict=True), strict=True):
        Path(f"{prefix}.{lang}").write_text("".join(f"{line}\n" for line in side))


def test_pairs_that_are_kept(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By their tokens a side, a ratio up to 1.5, and words up to 1,000 characters."""
    write(
        tmp_path / "x",
        ("a b", "a b c"),
        ("a b c d", "a b c"),
        ("a", "a b"),
        ("", "a"),
        ("  b   c ", "a b"),
        ("x" * 1000, "a"),
        ("x" * 1001, "a"),
    )
    clean(tmp_path / "x", LANGS, out, 3)
    assert (out / "x.de").read_text().split("\n") == ["a b", "b c", "x" * 1000, ""]
    assert (out / "x.en").read_text().split("\n") == ["a b c", "a b", "a", ""]
    assert capsys.readouterr().out == "x: 3 of 7 pairs kept\n"


def test_texts_beside_keep_the_same_lines_as_they_are(tmp_path: Path, out: Path) -> None:
    write(tmp_path / "x", ("a", "b"), ("a", "b b"), ("c", "d"))
    write(tmp_path / "raw", (" A", "B "), ("A", "B B"), ("C  C", ""))
    beside = tmp_path / "beside"
    beside.mkdir()
    clean(tmp_path / "x", LANGS, out, 3, beside=[(tmp_path / "raw", beside)])
    assert [(beside / f"raw.{lang}").read_text() for lang in LANGS] == [" A\nC  C\n", "B \n\n"]


def test_no_pair_kept_is_an_error(tmp_path: Path, out: Path) -> None:
    write(tmp_path / "x", ("a b c d", "a b c d"))
    with pytest.raises(SystemExit) as refused:
        clean(tmp_path / "x", LANGS, out, 3)
    assert refused.value.code == "x: none of its 1 pairs has 1 to 3 tokens a side and a ratio in range"
