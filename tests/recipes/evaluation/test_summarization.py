"""scripts/evaluate_summarization.sh: the decoding, what is written, and what other commands read of it."""

import json
from pathlib import Path

import pytest
from recipes.evaluation import report, significance, summarization
from recipes.evaluation.rouge import rouge_scores
from recipes.evaluation.score import write_scored
from recipes.files import read_lines
from recipes.studies.at_once import command_of
from recipes.training.run_folder import EVALUATE, RunFolder, evaluated_as
from support.in_process import printed, refused
from support.learned_run import GENERATION, contents, fairseq_hypotheses
from support.made_up_log import make_run

OPTIONS = ("--min-len", 1, "--no-repeat-ngram-size", 0, "--max-len-b", 4)
NAME = "best_max-len-b4_min-len1_no-repeat-ngram-size0"


def test_summaries_are_scored_and_written(learned):
    text = printed(summarization.main, learned, *OPTIONS)
    folder = learned / "evaluation" / NAME
    assert contents(folder).keys() == {
        f"{name}.{end}" for name in ("made_up", "another") for end in ("json", "txt", "txt.ref0")
    }
    result = json.loads((folder / "made_up.json").read_text())
    options = {"max_len_b": 4, "min_len": 1, "no_repeat_ngram_size": 0}
    assert result["decoding"] == summarization.PUBLISHED | GENERATION | options
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in result["decoding"].items()]
    expected = [of_line[0].text for of_line in fairseq_hypotheses(learned, "test", *flags)]
    assert read_lines(folder / "made_up.txt") == expected
    references = read_lines(learned.parent / "data/raw/made_up.en")
    assert read_lines(folder / "made_up.txt.ref0") == references
    scores = rouge_scores([expected, references], by_characters=False)
    assert result["rouge1"] > 30 and scores.items() <= result.items()
    assert f"ROUGE-L        {result['rougeL']:6.2f} ± {result['rougeL_ci']:.2f}" in text


def test_the_papers_decoding_stands_where_the_config_says_nothing(learned, monkeypatch):
    found = []
    monkeypatch.setattr(summarization, "evaluate", lambda run, checkpoint, how, out: found.append((how, out)))
    config = learned / "train.yaml"
    text = config.read_text()
    config.write_text(text[: text.index("generation:")] + text[text.index("hydra:") :])
    try:
        printed(summarization.main, learned)
    finally:
        config.write_text(text)
    ((how, out),) = found
    expected = {"beam": 4, "lenpen": 2, "max_len_a": 0, "max_len_b": 140, "min_len": 55, "no_repeat_ngram_size": 3}
    assert how == expected and out == learned / "evaluation/best"


def test_what_is_refused(learned):
    assert "--min-len: must be an integer >= 0, not '-1'" in refused(summarization.main, learned, "--min-len=-1")
    assert "is no run folder" in refused(summarization.main, learned.parent / "none")


REFERENCE = [f"a{number} b{number} c{number} d{number}" for number in range(20)]


def summarized(run: Path, wrong: int) -> Path:
    """Write the scores of summaries of which some are wrong to a run."""
    lines = [line if number >= wrong else "x y z" for number, line in enumerate(REFERENCE)]
    out = run / "evaluation/best"
    for path in out.glob("*"):
        path.unlink()
    result = rouge_scores([lines, REFERENCE], by_characters=False)
    decoding = {"beam": 4, "lenpen": 2.0}
    result |= {"lang": "target", "lowercase": False, "checkpoint": "best", "updates": 5, "decoding": decoding}
    write_scored(out, "test", {"txt": [lines, REFERENCE]}, result)
    return run


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Return a run with 10 wrong summaries of 20, and one with 2."""
    runs = []
    for name, wrong in (("baseline", 10), ("rdrop", 2)):
        run = summarized(make_run(tmp_path / f"{name}/seed1", 30.0), wrong)
        runs.append(run)
    return runs


def test_reports_and_comparisons_read_the_scores(two):
    numbers = report.columns(report.read_run(RunFolder(two[1]), "best"))
    assert numbers["test ROUGE-1"] == pytest.approx(90) and numbers["test ROUGE-L"] == pytest.approx(90)
    text = printed(significance.main, two[0], "--", two[1])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert ["ROUGE-2", "50.00", "90.00", "+40.00", "", ""] in rows
    (row,) = [row for row in rows if row[:2] == ["1", "ROUGE-1"]]
    assert row[4] == "+40.00" and float(row[5]) < 0.05 and float(row[6]) < 0.05
    assert "sacreBLEU" not in text and "ROUGE-1: nrefs:1|bs:1000|seed:12345|stem:porter" in text


def test_incomplete_scores_and_other_scores_are_not_compared(two, tmp_path):
    path = two[0] / "evaluation/best/test.json"
    scores = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in scores.items() if key != "rougeL"}))
    assert f"{path} has no rougeL: evaluate the run again" in refused(significance.main, two[0], "--", two[1])
    path.write_text(json.dumps(scores | {"rouge_signature": "nrefs:1|other"}))
    assert "was scored by nrefs:1|stem" in refused(significance.main, two[0], "--", two[1])
    path.write_text(json.dumps(scores | {"rouge1": "high"}))
    assert "rouge1 is high, which no evaluation wrote" in refused(significance.main, two[0], "--", two[1])
    (two[0] / "train.yaml").write_text("task: {_name: rdrop_sentence_prediction}\ncommon: {seed: 1}\n")
    path.write_text(json.dumps({"sentences": 6, "accuracy": 50.0, "checkpoint": "best"}))
    line = refused(significance.main, two[0], "--", two[1])
    assert line == f"{two[0]} was scored on labels, {two[1]} on summaries"


def test_the_command_that_evaluates_follows_from_the_languages():
    assert evaluated_as("rdrop_translation", "source", "target") == "summarization"
    assert evaluated_as("translation", "de", "en") == "translation"
    assert evaluated_as("rdrop_language_modeling", None, None) == "language_model"
    assert evaluated_as("sentence_prediction", None, None) == "sentence_prediction"
    for kind, script in EVALUATE.items():
        assert command_of(script)[:2] == [f"evaluation.{kind}", "fairseq"]
