"""Doing to a text what a preparation did, and undoing it; test_prepare_all.py compares whole texts."""

from pathlib import Path

import pytest
from recipes.data.preparation import Preparation
from recipes.data.prepared import Prepared
from recipes.layout import copy_of_preparation
from recipes.text import bpe


def prepared(folder: Path, codes: str = "codes", **settings: object) -> Preparation:
    """Return the preparation of a folder with BPE that has learned the words "well" and "known" alone."""
    (folder / "bpe").mkdir(parents=True)
    (folder / "words").write_text("well known " * 9 + "\n")
    bpe.learn(folder / "bpe" / codes, 20, [folder / "words"], 1)
    Prepared(**({"script": "prepare_x.sh", "options": {}} | settings)).write(folder)
    return Preparation(folder)


@pytest.mark.parametrize(
    "settings, subwords",
    [
        ({}, "W@@ e@@ l@@ l@@ -@@ known & well ."),
        ({"escaped": True, "lowercase": True}, "wel@@ l@@ -@@ known &@@ a@@ m@@ p@@ ; well ."),
        ({"script": "prepare_wmt14.sh", "escaped": True}, "W@@ e@@ l@@ l @@@ -@@ @ known &@@ a@@ m@@ p@@ ; well ."),
    ],
)
def test_from_raw_text_to_subwords_and_back(settings, subwords, tmp_path):
    made = prepared(tmp_path, **settings)
    text = "Well-known & well."
    assert made.encode("en")([text, ""]) == [subwords, ""]
    assert made.decode("en")([subwords, ""]) == [text.lower() if made.prepared.lowercase else text, ""]


def test_punctuation_is_normalized_where_the_training_text_was(tmp_path):
    made = prepared(tmp_path, script="prepare_wmt14.sh", escaped=True)
    assert bpe.join(made.encode("en")(["„well“ …"])) == ["&quot; well &quot; ..."]


def test_a_language_may_have_codes_of_its_own(tmp_path):
    made = prepared(tmp_path, codes="codes.en")
    assert made.encode("en")(["well"]) == ["well"]
    with pytest.raises(SystemExit, match=r"bpe has no codes of the subwords: codes or codes\.de$"):
        made.encode("de")


def test_codes_that_are_no_text_are_refused_in_one_line(tmp_path):
    made = prepared(tmp_path)
    (tmp_path / "bpe/codes").write_bytes(b"#version: 0.2\n\xff\xfe\n")
    with pytest.raises(SystemExit, match=f"{tmp_path}/bpe/codes holds no codes of subword-nmt"):
        made.encode("en")


def test_the_copy_has_what_is_needed_and_no_more(tmp_path):
    data, copy = tmp_path / "data", tmp_path / "copy"
    prepared(data, codes="codes.en")
    for name in ("binarized/dict.de.txt", "binarized/dict.en.txt", "binarized/train.de-en.de.bin", "bpe/train.en"):
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_text(name)
    copy.mkdir()
    copy_of_preparation(data / "binarized", copy)
    files = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert files == {"settings.json", "bpe/codes.en", "bin/dict.de.txt", "bin/dict.en.txt"}
    assert (copy / "bin/dict.en.txt").read_text() == "binarized/dict.en.txt"
    assert Preparation(copy).encode("en")(["well"]) == ["well"]
