"""scripts/prepare_text.sh: a user's own parallel text."""

from pathlib import Path

import pytest
from recipes.data.prepared import read_prepared
from support.prepare import content, lines, prepared, refused
from support.sources import GREEK, write_text

SCRIPT = "prepare_text.sh"


def test_from_text_to_binarized_data(tmp_path: Path) -> None:
    source, out = write_text(tmp_path / "source"), tmp_path / "out"
    printed = prepared(SCRIPT, "--from", source, "--pair", "de-en", "--out", out, "--train-lines", "20")
    assert f"The data is in {out}/bin" in printed
    made = read_prepared(out)
    assert (made.script, made.testsets, made.lowercase, made.escaped) == (SCRIPT, ["test", "test_news"], False, False)
    assert made.options == {"pair": "de-en", "train-lines": 20, "bpe": 40}
    assert next(iter(made.sources)) == "train.de.gz"
    assert lines(out / "tok" / "train.de")[:2] == ["Der ΛΌΓΟΣ in İstanbul & der ẞ-Laut .", "Das ist Satz Nummer 1 ."]
    assert len(lines(out / "raw" / "train.en")) == 20


def test_lower_case_as_in_perl(tmp_path: Path) -> None:
    source, out = write_text(tmp_path / "source"), tmp_path / "out"
    options = ("--from", source, "--pair", "de-en", "--out", out)
    prepared(SCRIPT, *options, "--lowercase")
    assert lines(out / "tok" / "test_news.de")[0] == "der λόγοσ in i\u0307stanbul & der ß-laut ."
    assert lines(out / "raw" / "test_news.de")[0] == GREEK
    assert read_prepared(out).lowercase
    assert "made with lowercase: yes, not with lowercase: no" in refused(SCRIPT, *options)


def test_without_a_test_set_and_without_the_pairs_that_have_an_empty_side(tmp_path: Path) -> None:
    """Of a pair whose source has the name of a second reference, with a byte order mark and carriage returns."""
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for lang, word in (("en0", "nosy"), ("en", "neat")):
        for name, start in (("train", "\ufeff"), ("valid", "")):
            rows = [f"{word} {number}\rin {name}\r\n" for number in range(6)]
            (source / f"{name}.{lang}").write_bytes(
                (start + "".join(rows) + ("\n" if lang == "en" else "x\n")).encode()
            )
    options = ("--from", source, "--pair", "en0-en", "--out", out)
    assert f"{source} has no test.en0; --no-test prepares train and valid alone" in refused(SCRIPT, *options)
    assert "train.en: nothing on line 7" in refused(SCRIPT, *options, "--no-test")
    printed = prepared(SCRIPT, *options, "--no-test", "--drop-empty", fairseq=True)
    assert "train: 6 pairs; 1 of 7 left out, for they had nothing on a side\n" in printed
    assert "train.en: the byte order mark at its start is left out\n" in printed
    made = read_prepared(out)
    assert made.options["drop-empty"] is made.options["no-test"] is True
    assert lines(out / "tok" / "train.en0") == [f"nosy {number} in train" for number in range(6)]
    assert lines(out / "tok" / "valid.en") == [f"neat {number} in valid" for number in range(6)]
    assert "[en0] bpe/train.en0: 6 sents" in (out / "bin" / "preprocess.log").read_text()
    assert made.testsets == []
    assert {path.name.split(".")[0] for path in (out / "bin").iterdir()} == {"train", "valid", "dict", "preprocess"}
    before = content(out)
    assert prepared(SCRIPT, *options, "--no-test", "--drop-empty").count("done before") == 4
    assert "was made with drop-empty: yes, not with no drop-empty" in refused(SCRIPT, *options, "--no-test")
    assert content(out) == before
    del made.options["drop-empty"]
    made.write(out)
    assert prepared(SCRIPT, *options, "--no-test").count("done before") == 4
    message = refused(SCRIPT, *options, "--no-test", "--drop-empty")
    assert "was made with no drop-empty, not with drop-empty: yes" in message


@pytest.mark.parametrize(
    ("gone", "options", "message"),
    [
        ([], ["--pair", "de-en", "--out", "{out}"], "--from is missing"),
        ([], ["--from", "{source}", "--out", "{out}"], "--pair is missing"),
        ([], ["--from", "{source}", "--pair", "de-en"], "--out is missing"),
        ([], ["--from", "{source}", "--pair", "deen", "--out", "{out}"], "--pair: must be two languages as in de-en"),
        ([], ["--from", "{source}", "--pair", "de-de", "--out", "{out}"], "the languages of 'de-de' must differ"),
        ([], ["--from", "/no/such", "--pair", "de-en", "--out", "{out}"], "there is no folder '/no/such'"),
        (
            ["test_news.en.gz"],
            ["--from", "{source}", "--pair", "de-en", "--out", "{out}"],
            "has no test_news.en; --help",
        ),
        (["valid.de"], ["--from", "{source}", "--pair", "de-en", "--out", "{out}"], "has no valid.de; --help"),
        ([], ["--from", "{source}", "--pair", "nl-it", "--out", "{out}"], "has no test.nl"),
    ],
)
def test_bad_input(tmp_path: Path, gone: list[str], options: list[str], message: str) -> None:
    source, out = write_text(tmp_path / "source"), tmp_path / "out"
    for name in gone:
        (source / name).unlink()
    assert message in refused(SCRIPT, *(option.format(source=source, out=out) for option in options))
    assert not out.exists() or content(out) == {".prepare.lock": b""}
