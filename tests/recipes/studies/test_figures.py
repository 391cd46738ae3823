"""The figures of studies: what is drawn where."""

import json
import sys
from dataclasses import replace

import numpy
import pytest
from matplotlib.figure import Figure
from recipes.evaluation.measures import TRAINING_LOSS
from recipes.studies import figures, outcome
from recipes.studies.conditions import Conditions
from support.made_up_log import FRESH, LOG, valid
from support.made_up_study import made_up, trained

CURVES = "figure: {kind: curves}\nentries: {baseline: {config: baseline}, rdrop: {}, other: {}}"
BARS = "score: test\nentries: {baseline: {config: baseline}, rdrop: {}, other: {}}"
SEEDS = "score: test\nfigure: {kind: seeds}\nentries: {baseline: {config: baseline}, rdrop: {}, other: {}}"
POINTS = """
score: test
figure: {kind: points, label: alpha, log: true}
entries:
  baseline: {config: baseline}
  a10: {x: 10}
  a1: {x: 1}
  other: {x: 3}
"""
MAP = """
score: test
figure: {kind: heat map, label: dropout}
entries:
  baseline: {config: baseline}
  one: {x: [0.1, 0.1]}
  two: {x: [0.1, 0.3]}
  three: {x: [0.3, 0.3]}
"""
SCORES = {
    CURVES: {"baseline": [30.0, 32.0], "rdrop": [34.0]},
    BARS: {"baseline": [30.0, 32.0], "rdrop": [34.0]},
    SEEDS: {"baseline": [30.0, 32.0], "rdrop": [34.0, 33.0]},
    POINTS: {"baseline": [30.0, 32.0], "a10": [34.0, 36.0], "a1": [33.0]},
    MAP: {"baseline": [30.0], "one": [31.0], "two": [32.0], "three": [33.0, 34.0]},
}


def drawn(text, folder, log=None):
    """Return the figure of a study, and the study with its results."""
    study = made_up(folder, text)
    results = outcome.read_results(trained(study, folder, SCORES[text], log), {})
    figure = Figure()
    figures.KINDS[study.figure.kind](figure, study, results)
    return figure, study, results


@pytest.mark.parametrize("text", SCORES, ids=["curves", "bars", "seeds", "points", "heat map"])
def test_each_figure_is_a_picture_and_nothing_is_printed(text, tmp_path, capsys):
    _, study, results = drawn(text, tmp_path)
    assert figures.draw(study, results, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG") and capsys.readouterr() == ("", "")


def test_without_results_or_matplotlib_there_is_a_line_and_no_earlier_figure(tmp_path, capsys, monkeypatch):
    _, study, results = drawn(POINTS, tmp_path)
    path = tmp_path / "figure.png"
    for found, line in (
        (outcome.of_entry(results, "baseline"), "no run has results for the figure: no figure.png\n"),
        (results, "matplotlib is not installed: no figure.png\n"),
    ):
        path.write_text("earlier")
        if found == results:
            monkeypatch.setitem(sys.modules, "matplotlib", None)
        assert not figures.draw(study, found, path)
        assert not path.exists() and capsys.readouterr().err == line


def test_points_stand_at_their_x_with_the_baseline_as_a_line(tmp_path):
    axis = drawn(POINTS, tmp_path)[0].axes[0]
    points = axis.lines[0]
    assert points.get_xdata().tolist() == [1, 10] and points.get_ydata().tolist() == [33, 35]
    assert next(line.get_ydata() for line in axis.lines if line.get_label() == "baseline") == [31, 31]
    assert (axis.get_xscale(), axis.get_xlabel(), axis.get_ylabel()) == ("log", "alpha", "made_up sacreBLEU")


def test_bars_have_the_mean_and_each_run(tmp_path):
    axis = drawn(BARS, tmp_path)[0].axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["baseline", "rdrop"]
    runs = [points.get_offsets().tolist() for points in axis.collections if len(points.get_offsets()) > 0]
    assert [[30, 0], [32, 0]] in runs and [[34, 1]] in runs


def test_the_scores_over_seeds_have_their_mean_as_a_line(tmp_path):
    axis = drawn(SEEDS, tmp_path)[0].axes[0]
    of_seeds, of_means = axis.lines[::2], axis.lines[1::2]
    assert [line.get_label() for line in of_seeds] == ["baseline", "rdrop"]
    assert [line.get_xydata().tolist() for line in of_seeds] == [[[1, 30], [2, 32]], [[1, 34], [2, 33]]]
    assert [line.get_ydata() for line in of_means] == [[31, 31], [33.5, 33.5]]


def test_the_heat_map_has_the_mean_of_each_pair_in_its_place(tmp_path):
    axis = drawn(MAP, tmp_path)[0].axes[0]
    grid = axis.images[0].get_array()
    assert numpy.ma.filled(grid, -1).tolist() == [[31, 32], [-1, 33.5]]  # row: pass 1, column: pass 2
    assert {text.get_text(): text.get_position() for text in axis.texts} == {
        "31.00": (0, 0),
        "32.00": (1, 0),
        "33.50": (1, 1),
    }
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.1", "0.3"]


def with_nll(update: int, nll: float, train: float, bleu: float) -> str:
    """Return the lines of a log about an update and its validation."""
    numbers = {"num_updates": str(update), "loss": "9", "nll_loss": str(train), "ppl": "9", "train_wall": "30"}
    log = f"[train_inner][INFO] - {json.dumps(numbers)}\n"
    return log + valid(update, nll, bleu)


def test_curves_are_means_over_the_seeds_by_update_and_by_minutes(tmp_path):
    log = FRESH + with_nll(5, 4, 4.5, 9) + with_nll(10, 3, 3.5, 10)
    figure, study, _ = drawn(CURVES, tmp_path, log)
    loss, loss_by_time, bleu, bleu_by_time = figure.axes
    assert [line.get_label() for line in bleu.lines] == ["baseline", "rdrop"]
    assert [line.get_xydata().tolist() for line in bleu.lines] == [[[5, 9], [10, 10]]] * 2
    assert bleu_by_time.lines[0].get_xydata().tolist() == [[0.5, 9], [1, 10]]
    solid, dashed = loss.lines[:2]
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    assert solid.get_ydata().tolist() == [4, 3] and dashed.get_ydata().tolist() == [4.5, 3.5]
    assert loss_by_time.lines[1].get_xydata().tolist() == [[0.5, 4.5], [1, 3.5]]
    (tmp_path / "baseline/seed2/train.log").write_text(LOG)
    results = outcome.read_results(trained(study, tmp_path / "again", {"baseline": [1.0], "rdrop": [2.0]}), {})
    both = results[:1] + outcome.read_results(trained(study, tmp_path / "more", {"baseline": [1.0]}, log), {})
    figure = Figure()
    figures.draw_curves(figure, study, both)
    assert figure.axes[2].lines[0].get_ydata().tolist() == [9, 8.5]  # LOG has 9 and 7
    figure = Figure()
    old = [replace(result, curve=[{**point} for point in result.curve]) for result in both]
    for point in [point for result in old for point in result.curve]:
        point.pop(TRAINING_LOSS, None)  # as in a study.json of an earlier version
    figures.draw_curves(figure, study, old)
    assert [line.get_linestyle() for line in figure.axes[0].lines] == ["-"]
    assert figure.axes[0].get_title() == "" and "dashed" in loss.get_title()
    figure = Figure()
    figures.draw_curves(figure, study, [old[0], both[1]])
    assert [line.get_linestyle() for line in figure.axes[0].lines] == ["-", "--"]


def test_the_axis_of_minutes_says_whether_these_compare(tmp_path):
    _, study, results = drawn(CURVES, tmp_path)
    alone, beside = Conditions("A", "1", 60, 1, 1), Conditions("A", "1", 60, 2, 2)
    for of_first, label in (
        (alone, "training time (minutes)"),
        (beside, "training time (minutes), which may not compare"),
        (None, "training time (minutes), which may not compare"),
    ):
        figure = Figure()
        given = [of_first, *[alone] * (len(results) - 1)]
        each = [replace(result, conditions=[known]) for result, known in zip(results, given, strict=True)]
        figures.draw_curves(figure, study, each)
        assert [axis.get_xlabel() for axis in figure.axes] == ["update", label] * 2
