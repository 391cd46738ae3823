"""scripts/prepare_clue.sh: classes and texts of TNEWS and IFLYTEK, and what is refused."""

import zipfile

import pytest
from recipes.data.clue import LABELS
from support.chinese import write_tnews
from support.prepare import lines, prepared, refused

SCRIPT = "prepare_clue.sh"


def test_tnews(tmp_path):
    options = ("tnews", "--from", write_tnews(tmp_path / "in"), "--out", tmp_path / "out")
    printed = prepared(SCRIPT, *options, fairseq=True)
    assert printed.startswith("train: 12 rows\nvalid: 4 rows\n")
    assert lines(tmp_path / "out/raw/valid.label") == ["100", "116", "104", "100"]
    assert lines(tmp_path / "out/bpe/valid.input0")[1] == "新 闻 d 1"
    known = lines(tmp_path / "out/bin/label/dict.txt")
    assert [line.split()[0] for line in known] == list(LABELS["tnews"])
    assert printed.endswith(f"Next: scripts/train.sh configs/tnews/rdrop.yaml task.data={tmp_path}/out/bin\n")


def test_iflytek_in_an_archive(tmp_path):
    write_tnews(tmp_path / "in", ("0", "118", "7"))
    with zipfile.ZipFile(tmp_path / "iflytek_public.zip", "w") as archive:
        for name in ("train", "dev", "test"):
            archive.write(tmp_path / f"in/{name}.json", f"{name}.json")
    prepared(SCRIPT, "iflytek", "--from", tmp_path, "--out", tmp_path / "out")
    assert lines(tmp_path / "out/raw/train.label")[:3] == ["0", "118", "7"]


def test_there_are_as_many_classes_as_published():
    assert {task: len(set(labels)) for task, labels in LABELS.items()} == {"iflytek": 119, "tnews": 15}


@pytest.mark.parametrize(
    "line, wrong",
    [
        ("{", "train.json: line 13 is not JSON: Expecting property name"),
        ('["100", "text"]', 'train.json: line 13: must be an object with the texts "label" and "sentence"'),
        ('{"sentence": "text"}', 'train.json: line 13: must be an object with the texts "label" and "sentence"'),
        ('{"label": "105", "sentence": "text"}', "train.json: line 13: the label must be 100 or 101"),
        ('{"label": "100", "sentence": " "}', "train.json: line 13: a sentence is empty"),
    ],
)
def test_a_line_of_another_form_is_refused(line, wrong, tmp_path):
    source = write_tnews(tmp_path / "in")
    with (source / "train.json").open("a") as file:
        file.write(f"{line}\n")
    told = refused(SCRIPT, "tnews", "--from", source, "--out", tmp_path / "out")
    assert told.startswith(f"{SCRIPT}: {wrong}") and not (tmp_path / "out/raw").exists()


def test_a_source_that_is_missing_is_refused(tmp_path):
    line = refused(SCRIPT, "tnews", "--out", tmp_path / "out")
    assert line.startswith(f"{SCRIPT}: --from is missing: tnews_public.zip is on https://github.com/CLUEbenchmark")
    (tmp_path / "in").mkdir()
    line = refused(SCRIPT, "tnews", "--from", tmp_path / "in", "--out", tmp_path / "out")
    assert line == f"{SCRIPT}: {tmp_path}/in has no train.json\n"
