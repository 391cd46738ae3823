"""Put together what the runs of a study reached: scores and their differences, and what was reached in which time."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any

from recipes.evaluation.measures import OF_SUMMARIES, ON_TESTS, ON_VALIDATION
from recipes.evaluation.report import read_run
from recipes.studies.conditions import Conditions, Trained, conditions_of
from recipes.studies.differences import LEVEL, p_value, test_of
from recipes.studies.plan import Training
from recipes.studies.study import Study
from recipes.table import markdown_table, p_text, spread


@dataclass(frozen=True)
class Result:
    """What a finished run reached.

    Attributes:
        entry: the name of its entry.
        overrides: KEY=VALUE, as train.sh took them.
        scores: by their names, the best one on validation first.
        curve: the validations, as report.py has them, with the time and the updates of the run that this one started
            from.
        conditions: those of each part of its training, with those of the run that this one started from.
    """

    entry: str
    seed: int
    overrides: list[str]
    scores: dict[str, float]
    curve: list[dict[str, float]]
    best: dict[str, float]
    versions: list[str]
    tests: dict[str, Any]
    conditions: list[Conditions | None] = field(default_factory=list)

    @property
    def measure(self) -> str:
        """The key in the curve of the score on validation."""
        return next(key for key in ON_VALIDATION if key in self.best)

    @property
    def trained(self) -> Trained:
        """Its entry, its seed and its conditions."""
        return self.entry, self.seed, self.conditions

    def best_within(self, seconds: float) -> float | None:
        """Return the best score on validation in that time, None if there was no validation."""
        found = [point[self.measure] for point in self.curve if point["seconds"] <= seconds]
        return best_of(found, self.measure) if found else None


def higher_is_better(name: str) -> bool:
    """Return whether more is better: it is so of all scores but perplexity."""
    return not name.endswith(("perplexity", "ppl"))


def worse(score: float, other: float, name: str) -> bool:
    """Return whether a score is worse than another one."""
    return score < other if higher_is_better(name) else score > other


def best_of(scores: Iterable[float], name: str) -> float:
    """Return the best of some scores."""
    return max(scores) if higher_is_better(name) else min(scores)


def read_results(trainings: Iterable[Training], failed: dict[Training, str]) -> list[Result]:
    """Return what finished and scored runs reached. Runs that others start from come before these.

    A run of which something cannot be read is left out; what is wrong with it is added to `failed`.
    """
    found: dict[Any, Result] = {}
    for training in sorted(trainings, key=lambda training: bool(training.start)):
        if training.start and training.start.path not in found:
            failed[training] = f"it starts from {training.start}, which has no scores"
            continue
        try:
            run = read_run(training.run, "best")
        except SystemExit as problem:
            failed[training] = str(problem)
            continue
        curve, best, conditions = run["curve"], run["best"], conditions_of(training.run)
        if training.start:  # the time of the run from whose model it started is part of its own
            before = found[training.start.path].curve[-1]
            conditions = found[training.start.path].conditions + conditions
            curve, best = (
                [{**point, **{key: point[key] + before[key] for key in ("seconds", "update")}} for point in points]
                for points in (curve, [best])
            )
            (best,) = best
        key = next(key for key in ON_VALIDATION if key in best)
        scores = {f"best validation {ON_VALIDATION[key]}": best_of((point[key] for point in curve), key)}
        for name, test in run["tests"].items():
            counted = [key for key in ON_TESTS if key in test][:1] + [key for key in OF_SUMMARIES if key in test]
            scores |= {f"{name} {(ON_TESTS | OF_SUMMARIES)[key]}": test[key] for key in counted}
        what = training.entry.name, training.seed, training.overrides
        found[training.run.path] = Result(*what, scores, curve, best, run["versions"], run["tests"], conditions)
    return list(found.values())


def of_entry(results: Iterable[Result], name: str) -> list[Result]:
    """Return the results of an entry."""
    return [result for result in results if result.entry == name]


def compare(study: Study, results: list[Result]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return for each score and each entry with results: n, mean, std, difference to the baseline, p, test, differs."""
    names = dict.fromkeys(name for result in results for name in result.scores)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in names:
        of = {
            entry: [result.scores[name] for result in of_entry(results, entry) if name in result.scores]
            for entry in study.entries
        }
        base = of[study.baseline]
        rows = found[name] = {}
        for entry, values in of.items():
            if not values:
                continue
            row: dict[str, Any] = {
                "n": len(values),
                "mean": mean(values),
                "std": stdev(values) if len(values) > 1 else None,
            }
            if base and entry != study.baseline:
                p, test = p_value(base, values)
                defined = not math.isnan(p)
                row |= {"difference": mean(values) - mean(base), "p": p if defined else None, "test": test}
                row["differs"] = defined and p < LEVEL
            rows[entry] = row
    return found


def table_of_scores(study: Study, compared: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return a Markdown table for each score, with a row for each entry."""
    parts = []
    for name, rows in compared.items():
        lines = [["entry", "n", "mean ± std", f"- {study.baseline}", "p", "test", "different"]]
        for entry in study.entries:
            row = rows.get(entry)
            if row is None:
                lines.append([entry, "0", "not run", "", "", "", ""])
                continue
            value = f"{row['mean']:.2f}" + ("" if row["std"] is None else f" ± {row['std']:.2f}")
            cells = ["", "", "", ""]
            if "difference" in row:
                cells = [
                    f"{row['difference']:+.2f}",
                    "" if row["p"] is None else p_text(row["p"]),
                    row["test"],
                    "" if row["p"] is None else "yes" if row["differs"] else "no",
                ]
            lines.append([entry, str(row["n"]), value, *cells])
        better = "higher" if higher_is_better(name) else "lower"
        parts.append(f"## {name} ({better} is better)\n\n{markdown_table(lines)}")
    return "\n".join(parts)


def note_on_tests(study: Study, compared: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return what the tests are, and what they cannot say."""
    counts = max(compared.values(), key=len, default={})
    base = counts.get(study.baseline, {"n": 0})["n"]
    tests = dict.fromkeys(test_of(base, row["n"]) for entry, row in counts.items() if entry != study.baseline)
    told = {
        "permutation": "permutation: exact two-sided permutation test of the difference of the means over the seeds.",
        "Welch": "Welch: two-sided t-test of Welch over the seeds. It takes the scores of seeds to be normal, and "
        "stands where no permutation of so few runs gives p < 0.05.",
        "": "Where one side has fewer than two runs, there is no p-value.",
    }
    lines = [told[test] for test in tests]
    lines.append(f"An entry is called different where p < {LEVEL}; the p-values are not corrected for their number.")
    return "".join(f"- {line}\n" for line in lines)


def ahead_from(results: list[Result], base: list[Result]) -> float | None:
    """Return the minute from which on the runs of an entry are ahead of those of the baseline, None if they never are.

    At each time the mean over the seeds of the best score on validation up to then is compared, until the last run of
    both has ended.
    """
    ahead: float | None = None
    for seconds in sorted({point["seconds"] for result in results + base for point in result.curve}):
        own, others = ([result.best_within(seconds) for result in group] for group in (results, base))
        if None in own:
            ahead = None
            continue
        known = [score for score in others if score is not None]
        is_ahead = len(known) < len(others) or worse(
            mean(known), mean(score for score in own if score is not None), results[0].measure
        )
        ahead = (seconds / 60 if ahead is None else ahead) if is_ahead else None
    return ahead


def minutes_to(results: list[Result], score: float) -> float | None:
    """Return after how many minutes the best scores on validation up to then have a mean as good as `score`.

    Return None if that is never so. A run that has stopped counts with its best score.
    """
    for seconds in sorted({point["seconds"] for result in results for point in result.curve}):
        own = [found for result in results if (found := result.best_within(seconds)) is not None]
        if len(own) == len(results) and not worse(mean(own), score, results[0].measure):
            return seconds / 60
    return None


def table_of_times(study: Study, results: list[Result]) -> str:
    """Return a Markdown table of what each entry reached in which time.

    The time of the baseline is the longest training time of its runs.
    """
    base = of_entry(results, study.baseline)
    to_reach = of_entry(results, study.reach) if study.reach else []
    aims = [best_of((point[result.measure] for point in result.curve), result.measure) for result in to_reach]
    lines = [["entry", "n", "minutes", "updates", "best validation", "at minute"]]
    if base:
        limit = max(result.curve[-1]["seconds"] for result in base)
        lines[0] += [f"best within {limit / 60:.1f} minutes", "p", f"ahead of {study.baseline} from minute"]
    if aims:
        lines[0] += [f"minutes to {mean(aims):.2f}"]
    for entry in study.entries:
        found = of_entry(results, entry)
        if not found:
            lines.append([entry, "0", "not run", *[""] * (len(lines[0]) - 3)])
            continue
        key = found[0].measure
        ends = [result.curve[-1] for result in found]
        row = [entry, str(len(found)), f"{mean(end['seconds'] for end in ends) / 60:.1f}"]
        row.append(f"{mean(end['update'] for end in ends):.0f}")
        row.append(spread([result.best[key] for result in found]))
        row.append(f"{mean(result.best['seconds'] for result in found) / 60:.1f}")
        if base:
            within = [score for result in found if (score := result.best_within(limit)) is not None]
            of_base = [score for result in base if (score := result.best_within(limit)) is not None]
            p, test = p_value(of_base, within) if entry != study.baseline else (math.nan, "")
            told = "" if math.isnan(p) else f"{p_text(p)} ({test})"
            row += [spread(within), told, in_minutes(ahead_from(found, base))]
        if aims:
            row.append(in_minutes(minutes_to(found, mean(aims))))
        lines.append(row)
    return markdown_table(lines)


def in_minutes(minutes: float | None) -> str:
    """Return a time as a text, "-" for none."""
    return "-" if minutes is None else f"{minutes:.1f}"
