"""scripts/prepare_glue.sh: what it takes out of the files of each task, how it encodes text, and what it refuses."""

import zipfile
from pathlib import Path

import pytest
from recipes.data.prepared import read_prepared
from support.glue import DEV, USED, rows, table, write_glue, write_roberta
from support.prepare import lines, prepared, refused

SCRIPT = "prepare_glue.sh"


def sides(task: str, split: str, count: int) -> dict[str, list[str]]:
    """Return what raw/ should hold of a split."""
    first, second, label = zip(*rows(task, split, count), strict=True)
    return {"label": list(label), "input0": list(first)} | ({"input1": list(second)} if second[0] else {})


def of_raw(out: Path, split: str) -> dict[str, list[str]]:
    return {file.suffix[1:]: lines(file) for file in out.glob(f"raw/{split}.*")}


@pytest.mark.parametrize("task", USED)
def test_each_task_gives_its_sentences_and_labels(task, tmp_path):
    source = write_glue(tmp_path / "glue" / task, task)
    options = (task.lower(), "--from", source.parent, "--out", tmp_path / "out")
    printed = prepared(SCRIPT, *options)
    assert printed.startswith("train: 12 rows\nvalid: 6 rows\n")
    names = dict(zip(("valid", "mismatched"), DEV.get(task, ("dev",)), strict=False))
    for split, file in (("train", "train"), *names.items()):
        assert of_raw(tmp_path / "out", split) == sides(task, file, 12 if split == "train" else 6)
    assert read_prepared(tmp_path / "out").testsets == list(names)[1:]
    config = f"configs/glue_small/{task.replace('-', '').lower()}.yaml"
    assert printed.endswith(f"Next: scripts/train.sh {config} task.data={tmp_path}/out/bin\n")


def test_an_archive_is_read(tmp_path):
    write_glue(tmp_path / "CoLA", "CoLA")
    with zipfile.ZipFile(tmp_path / "CoLA.zip", "w") as archive:
        for name in ("train.tsv", "dev.tsv", "test.tsv"):
            archive.writestr(f"CoLA/{name}", table("CoLA", name.removesuffix(".tsv"), 6))
    for number, source in enumerate((tmp_path / "CoLA.zip", tmp_path)):
        out = tmp_path / f"out{number}"
        prepared(SCRIPT, "CoLA", "--from", source, "--out", out)
        assert of_raw(out, "valid") == sides("CoLA", "dev", 6)
        assert list(read_prepared(out).sources) == ["CoLA.zip"]


def test_mrpc_is_made_of_its_own_files_as_glues_script_does_it(tmp_path):
    """The pairs of numbers in dev_ids.tsv are the dev set. The file begins with a byte order mark."""
    (tmp_path / "MRPC").mkdir()
    text = table("MRPC", "all", 12)
    (tmp_path / "MRPC/msr_paraphrase_train.txt").write_text(f"\ufeff{text}", encoding="utf-8")
    (tmp_path / "MRPC/dev_ids.tsv").write_text("#1 ID 3\t#2 ID 3\n#1 ID 7\t#2 ID 7\nother\tother\n")
    prepared(SCRIPT, "MRPC", "--from", tmp_path, "--out", tmp_path / "out")
    expected = sides("MRPC", "all", 12)
    assert of_raw(tmp_path / "out", "valid") == {name: [of[3], of[7]] for name, of in expected.items()}
    train = {name: [line for number, line in enumerate(of) if number not in (3, 7)] for name, of in expected.items()}
    assert of_raw(tmp_path / "out", "train") == train
    (tmp_path / "MRPC/dev_ids.tsv").unlink()
    line = refused(SCRIPT, "MRPC", "--from", tmp_path, "--out", tmp_path / "other")
    assert f"{tmp_path} has no train.tsv, and as the source of that it has no dev_ids.tsv" in line


def test_lines_of_qqp_that_are_no_rows_are_left_out_and_empty_questions_stay(tmp_path):
    source = write_glue(tmp_path / "glue", "QQP")
    with (source / "train.tsv").open("a") as file:
        file.write("7\t8\t9\tA question that\n\ngoes on\t1\n10\t11\t12\tAlone?\t\t0\n")
    printed = prepared(SCRIPT, "QQP", "--from", source, "--out", tmp_path / "out")
    assert "train.tsv: 3 lines that have another number of columns are left out\ntrain: 13 rows\n" in printed
    assert {name: of[-1] for name, of in of_raw(tmp_path / "out", "train").items()} == {
        "label": "0", "input0": "Alone?", "input1": "",
    }  # fmt: skip


def test_a_learned_encoding_is_lower_cased_tokens_with_one_dictionary(tmp_path):
    source, out = write_glue(tmp_path / "glue", "RTE"), tmp_path / "out"
    prepared(SCRIPT, "RTE", "--from", source, "--out", out, fairseq=True)
    text = lines(out / "bpe/train.input0")[2].replace("@@ ", "")
    assert text == "it is 5 o 'clock , and ÿ too. train"
    counted = {word: int(count) for word, count in (line.split(" ") for line in lines(out / "bpe/dict.txt"))}
    both = " ".join(line for name in ("input0", "input1") for line in lines(out / f"bpe/train.{name}")).split()
    assert {word: count for word, count in counted.items() if count} == {word: both.count(word) for word in both}
    dictionaries = {(out / f"bin/{name}/dict.txt").read_bytes() for name in ("input0", "input1")}
    assert dictionaries == {(out / "bpe/dict.txt").read_bytes()}
    assert lines(out / "bin/label/dict.txt") == ["not_entailment 6", "entailment 6"]
    assert sorted(path.name for path in (out / "bin").iterdir()) == ["input0", "input1", "label"]


def test_roberta_gets_the_entries_of_gpt2(tmp_path):
    source, out, roberta = write_glue(tmp_path / "glue", "STS-B"), tmp_path / "out", write_roberta(tmp_path / "r")
    options = ("STS-B", "--from", source, "--out", out, "--workers", "1")
    prepared(SCRIPT, *options, "--roberta", roberta, plain=True, fairseq=True)
    # A space is the byte 32, which stands in GPT-2's list of 256 after 188 printed ones and 32 others.
    assert lines(out / "bpe/train.input0")[0].split(" ")[:3] == [str(ord("A") - 33), "220", "257"]
    assert (out / "bin/input1/dict.txt").read_bytes() == (roberta / "dict.txt").read_bytes()
    assert lines(out / "bin/label/train.label")[:3] == ["1", "0", "0.45"]
    assert list(read_prepared(out).options) == ["task", "subwords", "encoder.json", "vocab.bpe", "dict.txt"]
    with (roberta / "vocab.bpe").open("a") as file:
        file.write("c at\n")
    line = refused(SCRIPT, *options, "--roberta", roberta, plain=True)
    assert f"{out} was made with vocab.bpe: " in line and "use another --out" in line
    for name in ("dict.txt", "vocab.bpe", "encoder.json"):
        (roberta / name).unlink()
        line = refused(SCRIPT, *options, "--roberta", roberta, plain=True)
        assert f"{roberta} has no {name}, which RoBERTa and BART need; it is published at https://" in line


@pytest.mark.parametrize(
    "file, text, wrong",
    [
        ("encoder.json", "null", "encoder.json and vocab.bpe are not those of GPT-2: 'NoneType' object has"),
        ("encoder.json", '{"a": []}', "encoder.json and vocab.bpe are not those of GPT-2: unhashable type: 'list'"),
        ("encoder.json", '{"a": 0}', "encoder.json lacks '!': it and vocab.bpe are not those of GPT-2"),
        ("dict.txt", "1 5\nthe 3\n", "dict.txt lacks most entries of encoder.json: it is not that of RoBERTa or BART"),
    ],
)
def test_files_that_are_not_gpt2s_are_refused(file, text, wrong, tmp_path):
    source, roberta = write_glue(tmp_path / "glue", "CoLA"), write_roberta(tmp_path / "r")
    (roberta / file).write_text(text)
    options = ("CoLA", "--from", source, "--out", tmp_path / "out", "--roberta", roberta)
    assert refused(SCRIPT, *options, plain=True).startswith(f"{SCRIPT}: {wrong}")


@pytest.mark.parametrize(
    "task, old, new, wrong",
    [
        ("RTE", "sentence2\tlabel", "hypothesis\tlabel",
         "train.tsv: line 1: the header has no column 'sentence2': it is 'index sentence1 hypothesis label'"),
        ("RTE", "\tnot_entailment", "\tneutral",
         "train.tsv: line 2: the label must be not_entailment or entailment, not 'neutral'"),
        ("CoLA", "source 0\t0", "source 0\tyes", "train.tsv: line 1: the label must be 0 or 1, not 'yes'"),
        ("STS-B", "5.000", "five", "train.tsv: line 2: the label must be a number from 0 to 5, not 'five'"),
        ("STS-B", "5.000", "nan", "train.tsv: line 2: the label must be a number from 0 to 5, not 'nan'"),
        ("STS-B", "5.000", "5.5", "train.tsv: line 2: the label must be a number from 0 to 5, not '5.5'"),
        ("MNLI", "sentence1_parse 1\t", "", "train.tsv: line 3: must have 12 columns, separated by tabs, not 11"),
        ("SST-2", 'The "cat is out. train', " ", "train.tsv: line 3: a sentence is empty"),
        ("SST-2", "ÿ", "\0", "train.tsv: line 4 holds a NUL byte: is it UTF-8?"),
        ("SST-2", "ÿ", "\udcff", "train.tsv: line 4 is not UTF-8 (byte 0xff at position 22)"),
    ],
)  # fmt: skip
def test_a_file_of_another_form_is_refused_with_its_line(task, old, new, wrong, tmp_path):
    source = write_glue(tmp_path / "glue", task)
    text = (source / "train.tsv").read_text(encoding="utf-8")
    assert old in text
    (source / "train.tsv").write_bytes(text.replace(old, new).encode("utf-8", "surrogateescape"))
    line = refused(SCRIPT, task, "--from", source, "--out", tmp_path / "out")
    assert line == f"{SCRIPT}: {wrong}\n"
    assert not (tmp_path / "out/raw").exists()


def test_options_that_cannot_be_used_are_refused(tmp_path):
    source = write_glue(tmp_path / "glue", "RTE")
    assert "must be one of CoLA, MRPC, QNLI, QQP, RTE, SST-2, MNLI, STS-B, not 'WNLI'" in refused(SCRIPT, "WNLI")
    line = refused(SCRIPT, "RTE", "--from", source, plain=True)
    assert "one of the arguments --roberta --bpe is required" in line
    (source / "dev.tsv").unlink()
    assert f"{source} has no dev.tsv" in refused(SCRIPT, "RTE", "--from", source, "--out", tmp_path / "out")
    (source / "dev.tsv").write_text("index\tsentence1\tsentence2\tlabel\n")
    assert "valid has no rows" in refused(SCRIPT, "RTE", "--from", source, "--out", tmp_path / "out")
