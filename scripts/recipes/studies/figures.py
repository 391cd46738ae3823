"""Draw the figure of a study: curves, bars, points over seeds or over a setting, or a heat map over two settings."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from recipes.evaluation.measures import ON_VALIDATION, TRAINING_LOSS
from recipes.figure import draw_figure
from recipes.studies.conditions import times_compare
from recipes.studies.outcome import Result, of_entry
from recipes.studies.study import Study

COLORS = [f"C{number}" for number in range(10)]  # matplotlib's own
BASELINE = "tab:gray"


def draw(study: Study, results: list[Result], path: Path) -> bool:
    """Draw the figure of a study. Return whether that was possible.

    If matplotlib is not installed, or if no entry with a place in the figure has results, print a line, and remove an
    earlier figure.
    """
    path.unlink(missing_ok=True)
    drawn = [entry for entry in study.entries.values() if of_entry(results, entry.name)]
    if study.figure.kind in ("points", "heat map"):
        drawn = [entry for entry in drawn if entry.x]
    if not drawn:
        print(f"no run has results for the figure: no {path.name}", file=sys.stderr)
        return False

    def fill(figure: Any) -> None:
        KINDS[study.figure.kind](figure, study, results)
        figure.suptitle(study.title)

    return draw_figure(path, (10, 7) if study.figure.kind == "curves" else (7, 5), fill)


def score_of(study: Study, results: list[Result]) -> str:
    """Return the name of the score that the figure shows: that on validation, or that of the first test set."""
    names = [name for result in results for name in result.scores]
    tests = [name for name in names if not name.startswith(("best validation", "valid "))]
    return tests[0] if study.score == "test" and tests else names[0]


def values_of(study: Study, results: list[Result], entry: str) -> list[float]:
    """Return the scores of an entry that the figure shows."""
    name = score_of(study, results)
    return [result.scores[name] for result in of_entry(results, entry) if name in result.scores]


def error_of(values: list[float]) -> float:
    """Return the standard deviation of some values, 0 for one."""
    return stdev(values) if len(values) > 1 else 0.0


def draw_bars(figure: Any, study: Study, results: list[Result]) -> None:
    """Draw a point for the mean of each entry, a line for its standard deviation, and a small point for each run."""
    axis = figure.subplots()
    names = [name for name in study.entries if values_of(study, results, name)]
    for place, name in enumerate(names):
        values = values_of(study, results, name)
        color = BASELINE if name == study.baseline else COLORS[0]
        axis.errorbar(mean(values), place, xerr=error_of(values), fmt="o", color=color, capsize=4)
        axis.scatter(values, [place] * len(values), s=8, color=color, alpha=0.5)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_xlabel(f"{score_of(study, results)}, mean ± standard deviation over the seeds")
    axis.grid(axis="x", alpha=0.3)


def draw_seeds(figure: Any, study: Study, results: list[Result]) -> None:
    """Draw the score of each entry over the seeds, with its mean as a dashed line, as in the paper's figure 5."""
    axis = figure.subplots()
    names = [name for name in study.entries if values_of(study, results, name)]
    score = score_of(study, results)
    for name, color in (dict(zip(names, COLORS * len(names), strict=False)) | {study.baseline: BASELINE}).items():
        of = {result.seed: result.scores[score] for result in of_entry(results, name) if score in result.scores}
        if of:
            axis.plot(*zip(*sorted(of.items()), strict=True), "o-", color=color, label=name)
            axis.axhline(mean(of.values()), linestyle="--", color=color, alpha=0.5)
    axis.set_xticks(sorted({result.seed for result in results}))
    axis.set(xlabel="seed", ylabel=score)
    axis.grid(alpha=0.3)
    axis.legend()


def draw_points(figure: Any, study: Study, results: list[Result]) -> None:
    """Draw the mean score of each entry over its x, with the standard deviation, and the baseline as a line."""
    axis = figure.subplots()
    entries = [entry for entry in study.entries.values() if entry.x and values_of(study, results, entry.name)]
    points = sorted((entry.x[0], values_of(study, results, entry.name)) for entry in entries if entry.x)
    places = [x for x, _ in points]
    of = [values for _, values in points]
    axis.errorbar(places, list(map(mean, of)), yerr=list(map(error_of, of)), fmt="o-", color=COLORS[0], capsize=4)
    if base := values_of(study, results, study.baseline):
        middle, error = mean(base), error_of(base)
        axis.axhline(middle, color=BASELINE, label=study.baseline)
        axis.axhspan(middle - error, middle + error, color=BASELINE, alpha=0.2)
        axis.legend()
    if study.figure.log:
        axis.set_xscale("log")
    axis.set_xticks(places, [f"{place:g}" for place in places])
    axis.minorticks_off()
    axis.set(xlabel=study.figure.label, ylabel=score_of(study, results))
    axis.grid(alpha=0.3)


def draw_heat_map(figure: Any, study: Study, results: list[Result]) -> None:
    """Draw the mean score of each pair of x as a colored square, with its number, as in the paper's figure 4."""
    axis = figure.subplots()
    cells = {
        entry.x: mean(values)
        for entry in study.entries.values()
        if entry.x and (values := values_of(study, results, entry.name))
    }
    of_column, of_row = (sorted({x[side] for x in cells}) for side in (1, 0))
    grid = [[cells.get((row, column), float("nan")) for column in of_column] for row in of_row]
    image = axis.imshow(grid, cmap="viridis")
    middle = (min(cells.values()) + max(cells.values())) / 2
    for (row, column), value in cells.items():
        color = "black" if value > middle else "white"
        place = of_column.index(column), of_row.index(row)
        axis.text(*place, f"{value:.2f}", ha="center", va="center", color=color)
    axis.set_xticks(range(len(of_column)), [f"{x:g}" for x in of_column])
    axis.set_yticks(range(len(of_row)), [f"{x:g}" for x in of_row])
    axis.set(xlabel=f"{study.figure.label}, pass 2", ylabel=f"{study.figure.label}, pass 1")
    figure.colorbar(image, label=score_of(study, results))


def draw_curves(figure: Any, study: Study, results: list[Result]) -> None:
    """Draw loss and score on validation over updates and minutes, as in the paper's figures 2, 3 and 7.

    The loss is the negative log-likelihood in bits. A dashed line is that of training with dropout; for R-Drop it is
    the mean over the passes. Each line is the mean over the seeds, with the range of the seeds; a dashed one has only
    the runs in which that loss is known. The axis of minutes says so if the times may not compare.
    """
    axes = figure.subplots(2, 2)
    measure = results[0].measure
    names = [name for name in study.entries if of_entry(results, name)]
    colors = dict(zip(names, COLORS * len(names), strict=False)) | {study.baseline: BASELINE}
    compare = times_compare([result.trained for result in results])
    minutes = "training time (minutes)" if compare else "training time (minutes), which may not compare"
    for column, (x, unit) in enumerate((("update", "update"), ("seconds", minutes))):
        for name in names:
            found = of_entry(results, name)
            draw_line(axes[1][column], x, [curve_of(result, measure) for result in found], colors[name], label=name)
            draw_line(axes[0][column], x, [of_valid(result) for result in found], colors[name], label=name)
            training = [curve for result in found if (curve := curve_of(result, TRAINING_LOSS))]
            draw_line(axes[0][column], x, training, colors[name], "--")
        axes[0][column].set(xlabel=unit, ylabel="negative log-likelihood (bits)")
        axes[1][column].set(xlabel=unit, ylabel=f"validation {ON_VALIDATION[measure]}")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    if any(curve_of(result, TRAINING_LOSS) for result in results):
        axes[0][0].set_title("solid: validation, dashed: training", fontsize="medium")
    axes[1][0].legend()


Curve = dict[int, tuple[float, float, float]]  # update, seconds and value by the update of the run itself


def curve_of(result: Result, key: str) -> Curve:
    """Return a value of the validations of a run."""
    points = enumerate(result.curve)
    return {at: (point["update"], point["seconds"], point[key]) for at, point in points if key in point}


def of_valid(result: Result) -> Curve:
    """Return the negative log-likelihood in bits on validation."""
    return {at: (update, seconds, math.log2(ppl)) for at, (update, seconds, ppl) in curve_of(result, "ppl").items()}


def draw_line(axis: Any, x: str, curves: list[Curve], color: str, style: str = "-", label: str | None = None) -> None:
    """Draw the mean of the curves of several seeds at each validation that all have, and their range."""
    shared = sorted(set.intersection(*map(set, curves))) if curves else []
    if not shared:
        return
    side = 0 if x == "update" else 1
    places = [mean(curve[at][side] for curve in curves) / (1 if x == "update" else 60) for at in shared]
    of = [[curve[at][2] for curve in curves] for at in shared]
    axis.plot(places, list(map(mean, of)), style, color=color, label=label)
    if len(curves) > 1:
        axis.fill_between(places, list(map(min, of)), list(map(max, of)), color=color, alpha=0.15)


KINDS: dict[str, Callable[[Any, Study, list[Result]], None]] = {
    "bars": draw_bars,
    "seeds": draw_seeds,
    "points": draw_points,
    "heat map": draw_heat_map,
    "curves": draw_curves,
}
