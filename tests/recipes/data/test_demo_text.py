"""The demo's text, which lies in the repository: what it is, and scripts/prepare_demo.sh, which binarizes it."""

import hashlib
import re
from pathlib import Path

import pytest
from fairseq.data import Dictionary
from recipes.data.demo import TEXT
from recipes.data.prepared import read_prepared
from support.prepare import content, lines, prepared

CHECKSUMS = {  # of what the grammar gave that the text was generated with
    "test.de": "3dbb8a1185d1328574921d00c2d1f10a7e280afa85aecb256bc4422746aafa51",
    "test.en": "a85658a0890954c59b163c287bfab49eb3b6cca28ca57dd62b967ae5bb540d02",
    "train.de": "aee99a9efccb5ab785687d8e4d330c1928c0b29f98883ce77cd9463d510bb4ae",
    "train.en": "4fe1f2f42bb433a116717ade9db6146431ce439728856079e11160561caa7ca1",
    "valid.de": "1acc4bed4d6b0b43f688e4af8399eb23744bbd9ae74070a056c76ad3d62db188",
    "valid.en": "8242edcbf7c7447e9d2e9558196fa2afba78b240f27ff52f67ece4dd7594c3b8",
}
SIZES = {"train": 1500, "valid": 300, "test": 500}


def test_the_text_is_what_was_generated() -> None:
    assert {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in TEXT.iterdir()} == CHECKSUMS


def test_splits_have_their_sizes_and_share_no_sentence() -> None:
    for lang in ("de", "en"):
        texts = {split: lines(TEXT / f"{split}.{lang}") for split in SIZES}
        assert {split: len(text) for split, text in texts.items()} == SIZES
        whole = [line for text in texts.values() for line in text]
        assert len(set(whole)) == len(whole) == 2300


@pytest.mark.parametrize("split", SIZES)
def test_sentences_look_like_sentences(split: str) -> None:
    for german, english in zip(*(lines(TEXT / f"{split}.{lang}") for lang in ("de", "en")), strict=True):
        for text in (german, english):
            assert re.fullmatch(r"[A-ZÄÖÜ][^.?!]*[^ ,.?!][.?!]", text), text
            assert "  " not in text and ",," not in text and " ," not in text, text
            assert not re.search("[_~/|*=]", text), text
        assert german[-1] == english[-1]
        assert len(german.split()) <= 8


def test_from_the_text_to_binarized_data(tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed = prepared("prepare_demo.sh", "--out", out, fairseq=True)
    assert re.findall(r"(\w+): done in \d+ s\n", printed) == ["raw", "tok", "bpe", "bin"]
    assert content(out / "raw") == content(TEXT)
    made = read_prepared(out)
    assert (made.script, made.options["bpe"], made.testsets) == ("prepare_demo.sh", 1000, ["test"])
    assert "[de] bpe/test.de: 500 sents" in (out / "bin" / "preprocess.log").read_text()
    words = Dictionary.load(str(out / "bin" / "dict.de.txt"))
    assert words == Dictionary.load(str(out / "bin" / "dict.en.txt")) and len(words) > 500
