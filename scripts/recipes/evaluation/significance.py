"""Compare two groups of scored runs: see scripts/compare_runs.py."""

import glob
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev, variance
from typing import Any

import numpy
from sacrebleu.metrics.base import Metric
from sacrebleu.significance import PairedTest
from scipy.stats import PermutationMethod, wilcoxon
from tqdm import tqdm

from recipes import cli
from recipes.evaluation.checkpoint_choice import read_config, setting
from recipes.evaluation.score import KINDS, as_perl_splits, check_lengths, read_scores, text_metrics, token_metric
from recipes.files import read_lines
from recipes.table import markdown_table

SCORES = {
    "bleu": "sacreBLEU",
    "tokenized_bleu": "multi-bleu",
    "compound_split_bleu": "compound split",
    "chrf": "chrF",
}


@dataclass(frozen=True)
class Scored:
    """A test set as one run was scored on it; the first of its texts is the translation, the others the references."""

    scores: dict[str, Any]
    tokens: list[list[str]]
    text: list[list[str]]


@dataclass(frozen=True)
class Evaluation:
    """A run and the test sets that it was scored on, by name."""

    run: Path
    seed: int
    tests: dict[str, Scored]


def _texts(path: Path) -> list[list[str]]:
    """Return the texts PATH, PATH.ref0, PATH.ref1, ..."""
    count = len(list(path.parent.glob(f"{glob.escape(path.name)}.ref*")))
    return [read_lines(path), *(read_lines(Path(f"{path}.ref{number}")) for number in range(max(count, 1)))]


def read_evaluation(run: Path, name: str) -> Evaluation:
    """Return the scores of a run; exit if it has none."""
    seed = setting(run, read_config(run), "common.seed", int, 1)
    folder = run / "evaluation" / name
    tests = {}
    for path in sorted(folder.glob("*.json")):
        texts = []
        for kind in ("tok", "txt"):
            try:
                texts.append(_texts(folder / f"{path.stem}.{kind}"))
                check_lengths(texts[0][0], texts[-1])
            except FileNotFoundError as error:
                sys.exit(f"there is no {error.filename}; run scripts/evaluate_translation.sh {run} again")
            except ValueError as error:
                sys.exit(f"{path.with_suffix('.' + kind)}: {error}; run scripts/evaluate_translation.sh {run} again")
        tests[path.stem] = Scored(read_scores(path, [key for key in KINDS if key != "perplexity"]), *texts)
    if not tests:
        sys.exit(f"{run} was not scored (there is no {folder}); run scripts/evaluate_translation.sh {run}")
    return Evaluation(run, seed, tests)


def check_comparable(runs: list[Evaluation]) -> None:
    """Exit unless all runs were scored on the same test sets, against the same references, in the same way."""
    first = runs[0]
    for run in runs[1:]:
        if run.tests.keys() != first.tests.keys():
            sys.exit(f"{first.run} was scored on {', '.join(first.tests)}, {run.run} on {', '.join(run.tests)}")
        for name, test in run.tests.items():
            other = first.tests[name]
            if test.text[1:] != other.text[1:] or test.tokens[1:] != other.tokens[1:]:
                sys.exit(f"{name}: the references of {run.run} differ from those of {first.run}")
            for key in ("bleu_signature", "chrf_signature"):
                if test.scores[key] != other.scores[key]:
                    sys.exit(f"{name}: {run.run} was scored by {test.scores[key]}, {first.run} by {other.scores[key]}")


def by_seed(runs: list[Evaluation]) -> dict[int, Evaluation]:
    """Return the runs of a group by seed; exit if two have the same."""
    found: dict[int, Evaluation] = {}
    for run in runs:
        if run.seed in found:
            sys.exit(f"{found[run.seed].run} and {run.run} in one group have the same seed {run.seed}")
        found[run.seed] = run
    return found


def pairs(group_a: list[Evaluation], group_b: list[Evaluation]) -> list[tuple[Evaluation, Evaluation]]:
    """Return the runs of both groups with equal seeds; where each group is one run, these two."""
    if len(group_a) == len(group_b) == 1:
        return [(group_a[0], group_b[0])]
    a, b = by_seed(group_a), by_seed(group_b)
    return [(a[seed], b[seed]) for seed in sorted(a.keys() & b.keys())]


def wilcoxon_p(differences: list[float]) -> float:
    """Return the two-sided p-value of the Wilcoxon signed-rank test, exact also where differences are equal or 0.

    All 2^n signs are gone through up to 13 differences, as scipy advises; from there on scipy's own choice.
    """
    rounded = numpy.round(differences, 9)  # or differences that are equal but for the last bit would not be
    if not rounded.any():
        return 1.0
    few = len(rounded) <= 13
    return float(wilcoxon(rounded, method=PermutationMethod(n_resamples=math.inf) if few else "auto").pvalue)


def cohens_d(a: list[float], b: list[float]) -> float:
    """Return Cohen's d of b over a, both of one size: the difference of the means by the pooled standard deviation."""
    pooled = math.sqrt((variance(a) + variance(b)) / 2)
    return (mean(b) - mean(a)) / pooled if pooled else math.nan


def spread(values: list[float]) -> str:
    """Return mean and standard deviation as text; of one value, the value."""
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def score_rows(test: str, group_a: list[Evaluation], group_b: list[Evaluation]) -> Iterator[list[str]]:
    """Yield the rows of the first table: each score in both groups, and the tests over seeds."""
    yield ["score", "A", "B", "B - A", "Wilcoxon p", "Cohen's d"]
    paired = pairs(group_a, group_b)
    for key, label in SCORES.items():
        a, b = ([run.tests[test].scores[key] for run in group] for group in (group_a, group_b))
        over_seeds = ["", ""]
        if len(paired) > 1:
            of_a, of_b = ([pair[side].tests[test].scores[key] for pair in paired] for side in (0, 1))
            p = wilcoxon_p([other - one for one, other in zip(of_a, of_b, strict=True)])
            over_seeds = [f"{p:.3f}", f"{cohens_d(of_a, of_b):.2f}"]
        yield [label, spread(a), spread(b), f"{mean(b) - mean(a):+.2f}", *over_seeds]


def paired_tests(a: Scored, b: Scored) -> Iterator[tuple[str, list[float], list[str]]]:
    """Yield of each score that sacrebleu can test: its key; of bootstrap and of randomization p-value and signature."""
    bleu, chrf = text_metrics(a.scores["lang"], a.scores["lowercase"])
    text = [b.text[0], *a.text]
    tokens = [as_perl_splits(lines) for lines in (b.tokens[0], *a.tokens)]
    tested: list[tuple[str, Metric, list[list[str]]]] = [
        ("bleu", bleu, text),
        ("tokenized_bleu", token_metric(), tokens),
        ("chrf", chrf, text),
    ]
    for key, metric, (of_b, of_a, *references) in tested:
        p_values: list[float] = []
        signatures = []
        for test_type in ("bs", "ar"):
            signed, results = PairedTest([("A", of_a), ("B", of_b)], {key: metric}, references, test_type)()
            ((name, signature),) = signed.items()
            of_baseline, of_system = results[name]
            # sacrebleu counts what is above the difference, not what equals it: of a text and itself that is nothing.
            same = of_baseline.score == of_system.score  # type: ignore[union-attr]
            p_values.append(1.0 if same else of_system.p_value)  # type: ignore[arg-type, union-attr]
            signatures.append(str(signature))
        yield key, p_values, signatures


def main() -> None:
    before, after = sys.argv[1:], []
    if "--" in before:
        cut = before.index("--")
        before, after = before[:cut], before[cut + 1 :]
    parser = cli.Parser(__doc__, usage="compare_runs.py [--evaluation NAME] A... -- B...")
    parser.add_argument("--evaluation", default="best", metavar="NAME")
    parser.add_argument("runs", type=Path, nargs="+", metavar="A")
    args = parser.parse_args(before)
    if not after:
        parser.error("no runs to compare with: give them after --")
    cli.check_each_once([*args.runs, *map(Path, after)])
    group_a = [read_evaluation(run, args.evaluation) for run in args.runs]
    group_b = [read_evaluation(Path(run), args.evaluation) for run in after]
    check_comparable(group_a + group_b)
    paired = pairs(group_a, group_b)
    for label, group in (("A", group_a), ("B", group_b)):
        for run in group:
            decoded = run.tests[min(run.tests)].scores
            how = ", ".join(f"{key} {value}" for key, value in decoded["decoding"].items())
            print(f"{label}: {run.run} (seed {run.seed}; {decoded['checkpoint']}, {how})")
    for test in group_a[0].tests:
        print(f"\n{test} ({group_a[0].tests[test].scores['sentences']} sentences)\n")
        sys.stdout.write(markdown_table(list(score_rows(test, group_a, group_b))))
        rows, signatures = [["seed", "score", "A", "B", "B - A", "bootstrap p", "randomization p"]], {}
        for a, b in tqdm(paired, f"paired tests on {test}", leave=False, disable=None):
            seed = str(a.seed) if a.seed == b.seed else f"{a.seed}, {b.seed}"
            for key, p_values, signed in paired_tests(a.tests[test], b.tests[test]):
                scores = [run.tests[test].scores[key] for run in (a, b)]
                numbers = [f"{scores[0]:.2f}", f"{scores[1]:.2f}", f"{scores[1] - scores[0]:+.2f}"]
                rows.append([seed, SCORES[key], *numbers, *(f"{p:.4f}" for p in p_values)])
                signatures[key] = signed
        if paired:
            sys.stdout.write("\n" + markdown_table(rows) + "\n")
            for key, signed in signatures.items():
                print(f"{SCORES[key]}: " + "; ".join(signed))
    if len(paired) > 1:
        print(f"\nWilcoxon: {len(paired)} seeds, so the smallest possible p is {2.0 ** (1 - len(paired)):.3g}.")
    elif not paired:
        print("\nNo seed is in both groups: no paired tests.")
