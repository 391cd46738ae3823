"""recipes/text/bpe.py: codes and subwords are those of subword-nmt, whose commands the tests run beside it."""

import functools
import subprocess
from pathlib import Path

import pytest
from recipes.text import bpe
from recipes.text.line_pool import map_files
from support.places import BIN


def subword_nmt(text: str, *arguments: str) -> bytes:
    """Return what a command of subword-nmt makes of a text."""
    command = [str(BIN / "subword-nmt"), *arguments]
    return subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout


def test_bpe_equals_subword_nmt(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    texts = {"text.de": "der Hund und der Hunger\nlower\xa0Hund\n" * 40, "text.en": "the lower lowest dog\n" * 90}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = [tmp_path / name for name in texts]
    codes, out = tmp_path / "codes", tmp_path / "out"
    out.mkdir()
    bpe.learn(codes, 15, files, 2)
    map_files(functools.partial(bpe.applier, codes), files, out, 1)
    assert capfd.readouterr() == ("", "")
    assert codes.read_bytes() == subword_nmt("".join(texts.values()), "learn-bpe", "-s", "15")
    for name, text in texts.items():
        assert (out / name).read_bytes() == subword_nmt(text, "apply-bpe", "-c", str(codes))


def test_merges_equal_subword_nmt_where_it_goes_back_to_all_counts(tmp_path: Path) -> None:
    """With this many merges subword-nmt prunes its counts and copies them again."""
    words = ["".join("abcdef"[number // 6**place % 6] for place in range(4)) for number in range(6**4)]
    text = "".join(f"{word}\n" * (2 + number % 7) for number, word in enumerate(words))
    (tmp_path / "text.en").write_text(text)
    bpe.learn(tmp_path / "codes", 400, [tmp_path / "text.en"], 1)
    assert (tmp_path / "codes").read_bytes() == subword_nmt(text, "learn-bpe", "-s", "400")


def test_fewer_merges_than_asked_for_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.en").write_text("ab ab abc\n")
    bpe.learn(tmp_path / "codes", 50, [tmp_path / "text.en"], 1)
    assert capfd.readouterr() == ("bpe: fewer than 50 merges: no pair has frequency >= 2. Stopping\n", "")


@pytest.mark.parametrize(
    "text",
    ["我 爱 你\n你 爱 我\n", "ab cd\n", " \n"],
    ids=["words of one character", "pairs that occur once", "no word"],
)
def test_text_in_which_there_is_nothing_to_merge(tmp_path: Path, text: str) -> None:
    (tmp_path / "text.zh").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match="there is nothing to merge"):
        bpe.learn(tmp_path / "codes", 5, [tmp_path / "text.zh"], 1)


def test_the_cache_of_words_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "CACHED_WORDS", 2)
    (tmp_path / "codes").write_text("#version: 0.2\na b</w>\n")
    apply = bpe.applier(tmp_path / "codes")
    assert [apply([word]) for word in ("ab", "cab", "dab", "eab")] == [["ab"], ["c@@ ab"], ["d@@ ab"], ["e@@ ab"]]
