"""scripts/prepare_sentiment_zh.sh: which reviews keep their label, in what form they are found, what is refused."""

import zipfile

import pytest
from recipes.data import sentiment_zh
from recipes.data.sentences import UNLABELED
from recipes.files import sha256
from support.chinese import review, write_sentiment
from support.prepare import lines, prepared, refused

from rdrop_fairseq.compat.task_and_criterion import MARK

SCRIPT = "prepare_sentiment_zh.sh"


@pytest.mark.parametrize(
    "given, count", [(["--labeled", "3"], 3), (["--labeled", "20%"], 2), (["--labeled", "0.5"], 6)]
)
def test_the_first_reviews_keep_their_label(given, count, tmp_path):
    printed = prepared(SCRIPT, *given, "--from", write_sentiment(tmp_path / "in"), "--out", tmp_path / "out")
    assert printed.startswith(f"train: {count} rows keep their label\ntrain: 12 rows\nvalid: 4 rows\ntest: 4 rows\n")
    labels = [review("train", row)[1] if row < count else UNLABELED for row in range(12)]
    assert lines(tmp_path / "out/raw/train.label") == labels
    assert lines(tmp_path / "out/raw/train.input0") == [review("train", row)[0] for row in range(12)]
    assert lines(tmp_path / "out/raw/valid.label") == [review("valid", row)[1] for row in range(4)]


def test_the_tokens_are_characters_and_the_mark_is_the_last_label(tmp_path):
    options = ("--labeled", "3", "--from", write_sentiment(tmp_path / "in"), "--out", tmp_path / "out")
    prepared(SCRIPT, *options, fairseq=True)
    assert lines(tmp_path / "out/bpe/train.input0")[2] == "i P a d 不 错 t 2"
    assert lines(tmp_path / "out/bin/label/dict.txt") == ["0 1", "1 2", f"{UNLABELED} 9"]
    assert (tmp_path / "out/bin/label/test.bin").stat().st_size > 0


def test_the_published_archive_is_read_and_no_other(tmp_path, monkeypatch):
    write_sentiment(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "sentiment.zip", "w") as archive:
        for split in ("train", "valid", "test"):
            archive.write(tmp_path / f"in/{split}.tsv", f"sentiment/sentiment.{split}.data")
    options = ("--labeled", "3", "--from", tmp_path, "--out", tmp_path / "out")
    assert f"{tmp_path}/sentiment.zip: its SHA-256 is not that of the published sentiment.zip" in refused(
        SCRIPT, *options
    )
    monkeypatch.setattr(sentiment_zh, "CHECKSUM", sha256(tmp_path / "sentiment.zip"))
    prepared(SCRIPT, *options)
    assert lines(tmp_path / "out/raw/test.input0") == [review("test", row)[0] for row in range(4)]


@pytest.mark.parametrize(
    "old, new, wrong",
    [
        ("\t1", "\t2", "train.tsv: line 1: the label must be 0 or 1, not '2'"),
        ("\t1", f"\t{UNLABELED}", f"train.tsv: line 1: the label must be 0 or 1, not '{UNLABELED}'"),
        ("\t0", "", "train.tsv: line 2: must be a review, a tab and a label, not 1 columns"),
        ("不好看。t1", " ", "train.tsv: line 2: a sentence is empty"),
    ],
)
def test_a_line_of_another_form_is_refused(old, new, wrong, tmp_path):
    source = write_sentiment(tmp_path / "in")
    text = (source / "train.tsv").read_text(encoding="utf-8")
    assert old in text
    (source / "train.tsv").write_text(text.replace(old, new, 1), encoding="utf-8")
    options = ("--labeled", "3", "--from", source, "--out", tmp_path / "out")
    assert refused(SCRIPT, *options) == f"{SCRIPT}: {wrong}\n"
    assert not (tmp_path / "out/raw").exists()


@pytest.mark.parametrize(
    "labeled, told",
    [
        ("12", "--labeled: 12 of 12 rows; must be at least one, and not all"),
        ("1%", "--labeled: 0 of 12 rows; must be at least one, and not all"),
        ("few", "--labeled: must be a number of rows, or a share as in 1% or 0.01, not 'few'"),
        ("-1", "--labeled: must be a number of rows, or a share as in 1% or 0.01, not '-1'"),
    ],
)
def test_a_number_of_labels_that_cannot_be_is_refused(labeled, told, tmp_path):
    source = write_sentiment(tmp_path / "in")
    assert told in refused(SCRIPT, f"--labeled={labeled}", "--from", source, "--out", tmp_path / "out")


def test_the_mark_is_that_of_the_task() -> None:
    assert UNLABELED == MARK
