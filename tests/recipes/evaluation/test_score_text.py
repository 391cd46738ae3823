"""scripts/score.sh: a translation in a text file gets the scores of an evaluation."""

import json
import subprocess

import pytest
from recipes.evaluation import score_text, translation
from support.in_process import printed, refused
from support.places import SCRIPTS
from support.toy_run import settings


@pytest.fixture
def texts(tmp_path):
    """Return a translation and two references that differ from it in one word each."""
    (tmp_path / "mine.txt").write_text("It's a well-known fact .\nA man rides a bike.\n")
    (tmp_path / "test.en").write_text("It's a well-known fact.\nA man rides a horse.\n")
    (tmp_path / "other.en").write_text("It's a well-known fact.\nA man rides a bike.\n")
    return tmp_path


def test_the_scores_of_a_run_that_is_scored_as_text(learned):
    printed(translation.main, learned)
    folder = learned / "evaluation/best"
    result = json.loads((folder / "another.json").read_text())
    text = printed(score_text.main, folder / "another.txt", folder / "another.txt.ref0", "--lang", "en")
    for key in ("bleu_signature", "tokenized_bleu_line", "compound_split_bleu_line", "chrf_signature"):
        assert result[key] in text
    assert f"sacreBLEU                    {result['bleu']:6.2f}" in text
    assert f"another.txt, language en ({result['sentences']} sentences)" in text


def test_several_references_are_scored_together_and_only_tokens_count(texts):
    one = printed(score_text.main, texts / "mine.txt", texts / "test.en")
    assert "BLEU = 100.00" not in one
    both = printed(score_text.main, texts / "mine.txt", texts / "test.en", texts / "other.en")
    assert both.count("BLEU = 100.00, 100.0/100.0/100.0/100.0") == 2


def test_a_byte_order_mark_is_no_text(texts):
    (texts / "marked.en").write_bytes("\ufeff".encode() + (texts / "test.en").read_bytes())
    assert printed(score_text.main, texts / "marked.en", texts / "test.en").count("BLEU = 100.00") == 2


def test_case_counts_unless_it_is_left_out(texts):
    (texts / "upper.txt").write_text((texts / "other.en").read_text().upper())
    assert "BLEU = 100.00" not in printed(score_text.main, texts / "upper.txt", texts / "other.en")
    lower = printed(score_text.main, "--lowercase", texts / "upper.txt", texts / "other.en")
    assert lower.count("BLEU = 100.00") == 2 and "(2 sentences, lower-cased)" in lower and "case:lc" in lower


def test_the_ending_of_the_reference_says_the_language(texts):
    (texts / "a.zh").write_text("今天天气很好。\n")
    assert "tok:zh" in printed(score_text.main, texts / "a.zh", texts / "a.zh")
    names = ("x/test.de", "test.txt", "test", "a.ref0")
    assert [score_text.language_of(name) for name in names] == ["de", "en", "en", "en"]


@pytest.mark.parametrize(
    "options, words",
    [
        (["mine.txt"], "the following arguments are required: REFERENCE"),
        (["mine.txt", "none.en"], "there is no file none.en"),
        (["mine.txt", "."], ". is a folder, and no text"),
        (["mine.txt", "short.en"], "mine.txt has 2 lines, and short.en 1: they must match line by line"),
        (["bad.txt", "test.en"], "bad.txt is no text in UTF-8: invalid start byte at byte 3"),
        (["empty.txt", "test.en"], "empty.txt is empty"),
        (["mine.txt", "test.en", "--lang", "../x"], "--lang: must be a language as in 'de', not '../x'"),
    ],
)
def test_bad_input_is_refused_in_one_line(texts, monkeypatch, options, words):
    monkeypatch.chdir(texts)
    (texts / "short.en").write_text("one\n")
    (texts / "bad.txt").write_bytes(b"abc\xff\n")
    (texts / "empty.txt").write_text("")
    assert words in refused(score_text.main, *options)


def test_score_sh_reads_the_standard_input(texts):
    command = f"{SCRIPTS}/score.sh - {texts}/other.en < {texts}/other.en"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, **settings())
    assert (result.returncode, result.stderr) == (0, "") and result.stdout.count("BLEU = 100.00") == 2
