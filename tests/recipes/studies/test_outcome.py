"""What a study reports of its runs: scores and differences by hand, and what was reached in which time."""

import json
from argparse import Namespace
from statistics import stdev

import pytest
from recipes.studies import command, outcome
from support.made_up_log import FRESH, inner, valid
from support.made_up_study import made_up, trained

STUDY = """
score: test
equal_time: true
reach: rdrop
entries:
  baseline: {config: baseline}
  rdrop: {}
  tuned: {from: baseline}
  other: {}
"""
# Validations after 30 and 90 seconds with BLEU 9 and 7 stand in LOG; here after 60, 120 and 240 seconds.
SLOW = FRESH + inner(5, 60) + valid(5, 3, 8) + inner(10, 60) + valid(10, 2, 9.5) + inner(20, 120) + valid(20, 2, 12)
SCORES = {"baseline": [30.0, 31.0, 32.0, 33.0], "rdrop": [34.0, 35.0, 36.0, 37.0], "tuned": [31.0]}


def cells(text: str) -> list[list[str]]:
    """Return the cells of the rows of a Markdown table."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


@pytest.fixture
def study(tmp_path):
    return made_up(tmp_path, STUDY)


@pytest.fixture
def results(study, tmp_path):
    """Of runs with LOG, and of R-Drop with SLOW."""
    of_log = trained(study, tmp_path, {name: SCORES[name] for name in ("baseline", "tuned")})
    return outcome.read_results([*trained(study, tmp_path, {"rdrop": SCORES["rdrop"]}, SLOW), *of_log], {})


def test_scores_are_compared_with_the_baseline(study, results):
    compared = outcome.compare(study, results)
    assert list(compared) == ["best validation BLEU", "made_up sacreBLEU"]
    rows = compared["made_up sacreBLEU"]
    assert rows["baseline"] == {"n": 4, "mean": 31.5, "std": pytest.approx(stdev(SCORES["baseline"]))}
    expected = {"difference": 4, "p": pytest.approx(2 / 70), "test": "permutation", "differs": True}  # 8 choose 4
    assert rows["rdrop"] == {"n": 4, "mean": 35.5, "std": pytest.approx(stdev([0, 1, 2, 3]))} | expected
    alone = {"difference": -0.5, "p": None, "test": "", "differs": False}
    assert rows["tuned"] == {"n": 1, "mean": 31, "std": None} | alone
    assert "other" not in rows
    header, _, *lines = cells(outcome.table_of_scores(study, {"made_up sacreBLEU": rows}))
    assert header == ["entry", "n", "mean ± std", "- baseline", "p", "test", "different"]
    assert lines == [
        ["baseline", "4", "31.50 ± 1.29", "", "", "", ""],
        ["rdrop", "4", "35.50 ± 1.29", "+4.00", "0.0286", "permutation", "yes"],
        ["tuned", "1", "31.00", "-0.50", "", "", ""],
        ["other", "0", "not run", "", "", "", ""],
    ]
    _, _, _, clear, *_ = cells(outcome.table_of_scores(study, {"test": rows | {"rdrop": rows["rdrop"] | {"p": 1e-6}}}))
    assert clear[4] == "< 0.0001"
    note = outcome.note_on_tests(study, compared)
    assert "exact two-sided permutation test" in note and "fewer than two runs" in note and "Welch" not in note


def test_a_lower_perplexity_is_better():
    assert outcome.higher_is_better("test sacreBLEU") and not outcome.higher_is_better("test perplexity")
    assert outcome.worse(3, 2, "ppl") and not outcome.worse(2, 2, "ppl") and outcome.worse(2, 3, "bleu")
    assert outcome.best_of([3, 2], "ppl") == 2 and outcome.best_of([3, 2], "bleu") == 3


def test_the_time_of_a_run_that_starts_from_another_holds_that_of_the_other(study, results):
    (tuned,) = outcome.of_entry(results, "tuned")  # from the baseline, which ended after 90 s and 10 updates
    assert [(point["update"], point["seconds"]) for point in tuned.curve] == [(15, 120), (20, 180)]
    assert tuned.best["update"] == 15 and tuned.best["seconds"] == 120


def test_a_run_whose_scores_or_start_are_gone_has_failed_and_the_others_stand(study, tmp_path):
    runs = trained(study, tmp_path, SCORES)
    (tuned,) = (run for run in runs if run.entry.name == "tuned")
    lost = next(run for run in runs if run.run.path == tuned.start.path)
    lost.run.log.unlink()
    failed = {}
    assert len(outcome.read_results(runs, failed)) == 7
    assert set(failed) == {tuned, lost} and failed[tuned] == f"it starts from {tuned.start}, which has no scores"


def test_what_was_reached_in_which_time(study, results):
    rdrop = outcome.of_entry(results, "rdrop")[0]
    assert rdrop.best_within(90) == 8 and rdrop.best_within(59) is None and rdrop.best_within(1000) == 12
    table = cells(outcome.table_of_times(study, results))
    assert table[0] == [
        *("entry", "n", "minutes", "updates", "best validation", "at minute", "best within 1.5 minutes"),
        *("p", "ahead of baseline from minute", "minutes to 12.00"),
    ]
    assert table[2:] == [
        ["baseline", "4", "1.5", "10", "9.00 ± 0.00", "0.5", "9.00 ± 0.00", "", "-", "-"],
        ["rdrop", "4", "4.0", "20", "12.00 ± 0.00", "4.0", "8.00 ± 0.00", "0.0286 (permutation)", "2.0", "4.0"],
        ["tuned", "1", "3.0", "20", "9.00", "2.0", "-", "", "-", "-"],
        ["other", "0", "not run", *[""] * 7],
    ]


def curve(*points: tuple[float, float]) -> outcome.Result:
    """Return a result whose curve has these seconds and BLEU."""
    found = [{"seconds": seconds, "bleu": bleu} for seconds, bleu in points]
    return outcome.Result("rdrop", 1, [], {}, found, found[0], [], {})


def test_the_time_to_a_score_is_that_of_the_mean_over_the_seeds():
    two = [curve((60, 5), (120, 9)), curve((60, 6), (180, 8), (240, 7))]  # means of the best: 5.5, 7.5, 8.5, 8.5
    assert [outcome.minutes_to(two, score) for score in (5, 5.5, 7, 8.5, 9)] == [1, 1, 2, 3, None]
    assert outcome.minutes_to([curve((60, 5)), curve((120, 9))], 5) == 2  # before that one has no score


def test_an_entry_is_ahead_from_the_time_on_at_which_it_stays_ahead():
    base = [curve((60, 5), (120, 8), (180, 7))]  # best up to then: 5, 8, 8
    assert outcome.ahead_from([curve((90, 6), (150, 7), (240, 9))], base) == 4
    assert outcome.ahead_from([curve((60, 6), (120, 9), (180, 1))], base) == 1
    assert outcome.ahead_from([curve((30, 1), (90, 9))], base) == 1.5
    assert outcome.ahead_from([curve((60, 5), (120, 8))], base) is None  # only as good
    assert outcome.ahead_from([curve((60, 6), (120, 8), (240, 9)), curve((240, 8))], base) == 4  # a mean of 8.5
    assert outcome.ahead_from(base, [curve((60, 5), (120, 7)), curve((600, 8))]) == 1  # one has nothing until 600 s


def test_the_report_names_failed_runs_and_leaves_them_out(study, tmp_path, capsys):
    runs = trained(study, tmp_path, SCORES)
    lost = runs.pop()
    limit = "optimization.max_update=10"
    args = Namespace(config="rdrop.yaml", overrides=[limit], recorded=["a.json"], typed=f"toy rdrop.yaml {limit}")
    command.report(study, args, outcome.read_results(runs, {}), {lost: "out of memory"}, tmp_path / "out")
    printed = capsys.readouterr().out
    text = (tmp_path / "out/table.md").read_text()
    assert printed.startswith(text) and "Failed, and so left out: tuned seed 1." in text
    assert f"\nWritten by `scripts/study.sh toy rdrop.yaml {limit}`.\n" in text
    found = json.loads((tmp_path / "out/study.json").read_text())
    assert found["failed"] == {"tuned seed 1": "out of memory"} and len(found["runs"]) == 8
    assert [run["seed"] for run in found["runs"] if run["entry"] == "rdrop"] == [1, 2, 3, 4]
    assert {json.dumps(run["conditions"]) for run in found["runs"]} == {"[null]"}
    assert "- It is not known how many runs were at work at once, and on what: all runs." in text
    assert found["compared"]["made_up sacreBLEU"]["rdrop"]["p"] == pytest.approx(2 / 70)
    assert printed.endswith(f"\nThe tables and the figure are in {tmp_path}/out\n")


def test_all_scores_of_summaries_are_compared(study, tmp_path):
    (training,) = trained(study, tmp_path, {"baseline": [30.0]})
    scores = {"rouge1": 44.0, "rouge2": 21.0, "rougeL": 40.0, "sentences": 9}
    (training.run.evaluation("best") / "made_up.json").write_text(json.dumps(scores))
    (result,) = outcome.read_results([training], {})
    rouge = {"made_up ROUGE-1": 44, "made_up ROUGE-2": 21, "made_up ROUGE-L": 40}
    assert result.scores == {"best validation BLEU": 9} | rouge
