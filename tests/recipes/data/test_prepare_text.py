"""scripts/prepare_text.sh: parallel text that a user has."""

import shutil
from pathlib import Path

import pytest
from recipes.data.preparation import Preparation
from recipes.data.prepared import read_prepared
from recipes.text import bpe
from support.prepare import content, lines, prepared, refused, run
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


def texts(folder: Path, langs: str, source: list[str], target: list[str]) -> Path:
    """Write train, valid and test of these lines, ten times over, and return the folder."""
    folder.mkdir()
    for name in ("train", "valid", "test"):
        for lang, rows in zip(langs.split("-"), (source, target), strict=True):
            (folder / f"{name}.{lang}").write_text("".join(f"{row}\n" for row in rows * 10), encoding="utf-8")
    return folder


ESCAPED = ["i &apos;m  here , R &amp; D .", "he said &quot; no &quot; ."]


def test_tokens_that_are_made_stay_and_their_escapes_are_noted(tmp_path: Path) -> None:
    source, out = texts(tmp_path / "source", "de-en", ["Ja , ich .", "Er sagte nein ."], ESCAPED), tmp_path / "out"
    options = ("--from", source, "--pair", "de-en", "--out", out, "--tokenized")
    printed = prepared(SCRIPT, *options)
    assert "raw: 60 lines hold Moses' escapes such as &apos;, which scoring undoes\n" in printed
    made = read_prepared(out)
    assert made.escaped and made.tokenized and made.options["tokenized"] is True
    assert lines(out / "raw" / "test.en")[:2] == ESCAPED
    assert lines(out / "tok" / "test.en")[:2] == ["i &apos;m here , R &amp; D .", ESCAPED[1]]
    assert prepared(SCRIPT, *options).count("done before") == 4
    assert "made with tokenized: yes, not with no tokenized" in refused(SCRIPT, *options[:-1])
    joined = Preparation(out)
    (encoded,) = joined.encode("en")(["i &apos;m here"])
    assert bpe.join([encoded]) == ["i &apos;m here"] and joined.decode("en")([encoded]) == ["i'm here"]


def test_text_that_looks_tokenized_is_told_with_a_count(tmp_path: Path) -> None:
    source, out = texts(tmp_path / "source", "de-en", ["Ja, ich.", "Er sagte nein."], ESCAPED), tmp_path / "out"
    result = run(SCRIPT, "--from", source, "--pair", "de-en", "--out", out)
    told = [
        f"{SCRIPT}: warning: {name}.en: 20 of 20 lines look tokenized or escaped already, the first on line 1; "
        "prepare_text.sh --tokenized takes tokens as they are"
        for name in ("train", "valid", "test")
    ]
    assert (result.returncode, sorted(result.stderr.splitlines())) == (0, sorted(told))
    assert not read_prepared(out).escaped


JAPANESE = ["私は東京に住んでいます。", "猫が好きです！"]


@pytest.mark.parametrize("lower", [False, True])
def test_sentencepiece_splits_the_text_itself(tmp_path: Path, lower: bool) -> None:
    source = texts(tmp_path / "source", "en-ja", ["I live in Tokyo.", "I like cats!"], JAPANESE)
    out = tmp_path / "out"
    options = ("--from", source, "--pair", "en-ja", "--out", out, *(["--lowercase"] if lower else []))
    assert prepared(SCRIPT, *options, "--subwords", "sentencepiece", "--bpe", "38")
    assert read_prepared(out).options["subwords"] == "sentencepiece" and read_prepared(out).pieces
    english = "i live in tokyo." if lower else "I live in Tokyo."
    of_text = [line.replace(" ", "").replace("▁", " ").strip() for line in lines(out / "bpe" / "train.en")]
    assert of_text[0] == english and lines(out / "raw" / "train.en")[0] == "I live in Tokyo."
    assert lines(out / "tok" / "train.en")[0] == english.replace(".", " .")
    assert lines(out / "tok" / "train.ja")[0] == "私 は 東京 に 住ん で い ます 。"
    assert {path.name for path in (out / "bpe").iterdir()} >= {"sentencepiece.model", "train.en", "test.ja"}
    made = Preparation(out)
    for lang in ("en", "ja"):
        assert made.encode(lang)(lines(out / "raw" / f"test.{lang}")) == lines(out / "bpe" / f"test.{lang}")
    assert made.decode("ja")(lines(out / "bpe" / "test.ja"))[:2] == JAPANESE
    assert "made with subwords: sentencepiece, not with no subwords" in refused(SCRIPT, *options, "--bpe", "38")


def test_japanese_is_segmented_and_becomes_text_again(tmp_path: Path) -> None:
    source = texts(tmp_path / "source", "en-ja", ["I live in Tokyo.", "I like cats!"], JAPANESE)
    prepared(SCRIPT, "--from", source, "--pair", "en-ja", "--out", tmp_path / "out")
    assert lines(tmp_path / "out/tok/train.ja")[1] == "猫 が 好き です ！"
    made = Preparation(tmp_path / "out")
    assert made.decode("ja")(made.encode("ja")(JAPANESE)) == JAPANESE


@pytest.mark.parametrize(
    ("lang", "text", "options", "message"),
    [
        ("th", "ฉันชอบกินข้าว", (), "th writes no spaces between words, and there is no segmenter for it: pass segmented"),
        ("th", "ฉันชอบกินข้าวผัดกับไก่ทอดมาก", ("--tokenized",), "train.th has no spaces between its words: pass segmented"),
        ("ko", "안녕하세요저는학생입니다", (), "train.ko has no spaces between its words: pass segmented text"),
        ("ja", "これは本です。", ("--tokenized",), "train.ja has no spaces between its words: pass segmented text"),
        ("jp", "これは本です。", (), "train.jp has no spaces between its words: pass segmented text"),
        ("de", "Ein Hund.", ("--tokenized", "--moses", "{moses}"), "--moses makes tokens, and --tokenized says"),
        ("de", "Ein Hund.", ("--subwords", "wordpiece"), "invalid choice: 'wordpiece'"),
        ("de", "Ein Hund.", ("--subwords", "sentencepiece", "--bpe", "3"), "Vocabulary size is smaller than"),
    ],
)
def test_what_cannot_become_tokens(tmp_path: Path, lang: str, text: str, options: tuple[str], message: str) -> None:
    source = texts(tmp_path / "source", f"{lang}-en", [text], ["A dog."])
    (tmp_path / "scripts/tokenizer").mkdir(parents=True)
    (tmp_path / "scripts/tokenizer/tokenizer.perl").touch()
    more = [option.format(moses=tmp_path) for option in options]
    assert message in refused(SCRIPT, "--from", source, "--pair", f"{lang}-en", "--out", tmp_path / "out", *more)
    assert not (tmp_path / "out/tok").exists() or "--bpe" in options


@pytest.mark.parametrize("options", [("--tokenized",), ("--subwords", "sentencepiece", "--bpe", "40")])
def test_thai_is_taken_segmented_or_by_sentencepiece(tmp_path: Path, options: tuple[str]) -> None:
    thai = "ฉัน ชอบ กิน ข้าว" if "--tokenized" in options else "ฉันชอบกินข้าว"
    source = texts(tmp_path / "source", "en-th", ["I like to eat."], [thai])
    prepared(SCRIPT, "--from", source, "--pair", "en-th", "--out", tmp_path / "out", *options)
    assert lines(tmp_path / "out/tok/train.th")[0] == (thai if "--tokenized" in options else " ".join(thai))


@pytest.mark.skipif(not shutil.which("perl"), reason="needs perl")
def test_tokens_of_a_checkout_of_moses(tmp_path: Path) -> None:
    """A stand-in for its script, which is called without escapes."""
    (tmp_path / "scripts/tokenizer").mkdir(parents=True)
    (tmp_path / "scripts/tokenizer/tokenizer.perl").write_text('while (<STDIN>) { chomp; print "@ARGV: $_\\n" }')
    source, out = write_text(tmp_path / "source"), tmp_path / "out"
    prepared(SCRIPT, "--from", source, "--pair", "de-en", "--out", out, "--moses", tmp_path)
    assert lines(out / "tok/test_news.de")[0] == f"-q -l de -no-escape: {GREEK}"
    assert read_prepared(out).options["tokens"] == "Perl scripts of Moses"


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
