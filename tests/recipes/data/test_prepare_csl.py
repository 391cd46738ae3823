"""scripts/prepare_csl.sh: characters of abstracts and titles, both forms of the files, and what is refused."""

import shutil

import pytest
from recipes.data.preparation import Preparation
from support.prepare import content, lines, prepared, refused
from support.summaries import ABSTRACTS, write_csl

CSL = "prepare_csl.sh"


def test_characters_in_lower_case_and_a_sign_for_each_space(tmp_path):
    printed = prepared(CSL, "--from", write_csl(tmp_path / "source"), "--out", tmp_path / "out", fairseq=True)
    assert "train: 3 abstracts and titles" in printed
    assert lines(tmp_path / "out/raw/train.source")[0] == "针对 Deep Learning 的方法"
    assert lines(tmp_path / "out/bpe/train.source")[0] == "针 对 ▁ d e e p ▁ l e a r n i n g ▁ 的 方 法"
    assert lines(tmp_path / "out/bpe/train.target") == ["深 度 ▁ b e r t ▁ 学 习", "算 法", "结 果"]
    decoded = Preparation(tmp_path / "out").decode("target")(lines(tmp_path / "out/bpe/train.target"))
    assert decoded == ["深度 bert 学习", "算法", "结果"]
    known = [line.split(" ")[0] for line in lines(tmp_path / "out/bin/dict.target.txt")]
    assert {"深", "▁", "b"} <= set(known) and known == [
        line.split(" ")[0] for line in lines(tmp_path / "out/bin/dict.source.txt")
    ]


def test_lines_of_title_tab_abstract_give_the_same(tmp_path):
    (tmp_path / "tsv").mkdir()
    for name, rows in ABSTRACTS.items():
        text = "".join(f"{title}\t{abstract}\n" for abstract, title in rows)
        (tmp_path / f"tsv/{name.replace('dev', 'val')}.tsv").write_text(text, encoding="utf-8")
    for form, source in (("json", write_csl(tmp_path / "json")), ("tsv", tmp_path / "tsv")):
        prepared(CSL, "--from", source, "--out", tmp_path / f"of_{form}", "--train-lines", 2)
    made = [content(tmp_path / folder / "bpe") for folder in ("of_json", "of_tsv")]
    assert made[0] == made[1] and made[0]["train.target"].count(b"\n") == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"abst": "甲", "keyword": ["乙"], "label": "0"}\n',
            "csl_title_dev.json: line 1 has no title: the files of CLUE",
        ),
        ('{"title": "甲"}\n', "csl_title_dev.json: line 1 has no abst or content"),
        (
            '{"title": "甲", "abst": "乙"}\n{"title": " ", "abst": "乙"}\n',
            "csl_title_dev.json: line 2: the title is empty",
        ),
        ("title\n", "csl_title_dev.json: line 1 is not JSON"),
        ("[1]\n", "csl_title_dev.json: line 1 has no abst"),
        ("", "csl_title_dev.json has 0 lines"),
    ],
)
def test_lines_that_are_refused(tmp_path, text, said):
    source = write_csl(tmp_path / "source")
    (source / "csl_title_dev.json").write_text(text, encoding="utf-8")
    assert said in refused(CSL, "--from", source, "--out", tmp_path / "out")
    assert not (tmp_path / "out/raw").exists()


def test_files_that_are_refused(tmp_path):
    source = write_csl(tmp_path / "source")
    shutil.copy(source / "csl_title_dev.json", source / "val.json")
    several = refused(CSL, "--from", source, "--out", tmp_path / "out")
    assert (
        "has csl_title_dev.json and val.json for valid: it must have one of *dev.json, *dev.jsonl, *dev.tsv" in several
    )
    (source / "val.json").unlink()
    (source / "csl_title_test.json").rename(source / "csl_title_test.txt")
    assert "has no file for test" in refused(CSL, "--from", source, "--out", tmp_path / "out")
    (source / "test.tsv").write_text("甲\t乙\t丙\n")
    assert "test.tsv: line 1 must be a title, a tab and an abstract; it has 3 fields" in refused(
        CSL, "--from", source, "--out", tmp_path / "out"
    )
    assert "--from is missing" in refused(CSL, "--out", tmp_path / "out")
    more = refused(CSL, "--from", write_csl(tmp_path / "more"), "--out", tmp_path / "out", "--train-lines", 9)
    assert "csl_title_train.json has 3 lines, fewer than the 9 asked for" in more
