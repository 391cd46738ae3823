"""scripts/prepare_cnn_dm.sh and prepare_summarization.sh: BART's BPE, SentencePiece, known texts, what is refused."""

from pathlib import Path

import pytest
from recipes.data.preparation import Preparation
from recipes.data.prepared import read_prepared
from recipes.layout import copy_of_preparation
from support.prepare import lines, prepared, refused
from support.summaries import ENTRIES, write_bart, write_summaries

CNN_DM, OWN = "prepare_cnn_dm.sh", "prepare_summarization.sh"


def options(folder: Path) -> list[object]:
    return ["--from", folder / "source", "--bart", folder / "bart", "--out", folder / "out", "--workers", 1]


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """Return a folder with a source as of CNN/DailyMail, and a BART."""
    write_summaries(tmp_path / "source", "val", train=3)
    write_bart(tmp_path / "bart")
    return tmp_path


def test_texts_become_the_numbers_of_barts_bpe_and_text_again(given, tmp_path):
    printed = prepared(CNN_DM, *options(given), plain=True, fairseq=True)
    assert "train: 3 articles; the paper has 287,226" in printed
    out = given / "out"
    assert lines(out / "raw/valid.source") == lines(given / "source/val.source")
    number = {entry: str(place) for place, entry in enumerate(ENTRIES)}
    # Without a space before it, "the" is t + he; " the" is one entry, and " t" begins " train".
    entries = ["t", "he", "Ġt", *"rain", *"Ġhas", *"Ġ0", *"Ġand", "Ġthe", *"Ġend."]
    expected = " ".join(number[entry] for entry in entries)
    assert lines(out / "bpe/train.target")[0] == expected
    for name in ("train.source", "test.target"):
        assert Preparation(out).decode("target")(lines(out / "bpe" / name)) == lines(out / "raw" / name)
    for lang in ("source", "target"):
        assert lines(out / f"bin/dict.{lang}.txt") == lines(given / "bart/dict.txt")
    copy_of_preparation(out / "bin", tmp_path)  # what a run keeps
    assert Preparation(tmp_path).encode("source")(["the the"]) == [f"{number['t']} {number['he']} {number['Ġthe']}"]
    made = read_prepared(out)
    assert (made.testsets, made.subwords, made.pieces) == (["test"], "GPT-2", True)


def test_what_is_no_entry_of_the_bpe_is_left_out_of_a_text(given, tmp_path):
    """A model can write <unk> and the words that fill up the dictionary."""
    prepared(CNN_DM, *options(given), plain=True)
    number = {entry: str(place) for place, entry in enumerate(ENTRIES)}
    line = f"{number['he']} <unk> madeupword0000 {number['Ġthe']} 99999"
    assert Preparation(given / "out").decode("target")([line]) == ["he the"]


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda given: (given / "bart/encoder.json").unlink(), "has no encoder.json, which RoBERTa and BART need"),
        (lambda given: (given / "bart/vocab.bpe").unlink(), "has no vocab.bpe"),
        (lambda given: (given / "bart/dict.txt").unlink(), "has no dict.txt"),
        (lambda given: (given / "bart/encoder.json").write_text("{"), "are not those of GPT-2"),
        (lambda given: (given / "source/val.target").unlink(), "has no valid.target"),
        (
            lambda given: (given / "source/val.target").write_text("one\n"),
            "valid.source has 4 lines, valid.target has 1",
        ),
        (lambda given: (given / "source/train.target").write_text("a\n \nb\n"), "train.target: nothing on line 2"),
    ],
)
def test_what_is_refused_of_the_files(given, break_it, said):
    break_it(given)
    assert said in refused(CNN_DM, *options(given), plain=True)
    assert not (given / "out/bpe").exists()


def test_a_bpe_is_named_and_only_one(given):
    source = ("--from", given / "source", "--out", given / "out")
    assert "give either --bart DIR" in refused(CNN_DM, *source, plain=True)
    assert "give either --bart DIR" in refused(CNN_DM, *source, "--bart", given / "bart", "--bpe", 40, plain=True)
    assert "--from is missing" in refused(CNN_DM, "--bart", given / "bart", plain=True)
    assert "--out is missing" in refused(OWN, "--from", given / "source", plain=True)
    assert "there is no folder 'none'" in refused(CNN_DM, *source, "--bart", "none", plain=True)


def test_another_bpe_is_refused_in_the_same_folder(given):
    prepared(CNN_DM, *options(given), plain=True)
    with (given / "bart/dict.txt").open("a") as dictionary:
        dictionary.write("more 1\n")
    assert "was made with dict.txt: " in refused(CNN_DM, *options(given), plain=True)


def test_training_texts_that_also_stand_in_valid_or_test(tmp_path):
    source = write_summaries(tmp_path / "source")
    known = [lines(source / "dev.source")[1], lines(source / "test.source")[2]]
    text = lines(source / "train.source")
    (source / "train.source").write_text("\n".join([*text[:-2], *known]) + "\n")
    given = ("--from", source, "--out")
    said = "train: 2 texts also stand in valid or test; "
    assert f"{said}--drop-known leaves their pairs out\n" in prepared(OWN, *given, tmp_path / "all")
    assert f"{said}their pairs are left out\n" in prepared(OWN, *given, tmp_path / "less", "--drop-known")
    for folder, count in (("all", 30), ("less", 28)):
        for lang in ("source", "target"):
            assert len(lines(tmp_path / folder / f"raw/train.{lang}")) == count
            assert len(lines(tmp_path / folder / f"bpe/train.{lang}")) == count
    assert lines(tmp_path / "less/raw/train.source") == text[:-2]
    (source / "train.source").write_text(f"{known[0]}\n" * 30)
    line = refused(OWN, *given, tmp_path / "none", "--drop-known")
    assert "all training texts also stand in valid or test" in line
