"""Compare two groups of scored runs, A and B: the command scripts/compare_runs.py."""

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
from recipes.evaluation.score import KINDS, as_perl_splits, check_lengths, read_scores, text_metrics, token_metric
from recipes.files import read_lines
from recipes.table import markdown_table
from recipes.training.run_folder import RunFolder

SCORES = {
    "bleu": "sacreBLEU",
    "tokenized_bleu": "multi-bleu",
    "compound_split_bleu": "compound split",
    "chrf": "chrF",
}


@dataclass(frozen=True)
class Scored:
    """A test set as one run was scored on it.

    Attributes:
        scores: the scores, by the names in the file that the evaluation wrote.
        tokens, text: the translation, followed by its references, tokenized and as plain text.
    """

    scores: dict[str, Any]
    tokens: list[list[str]]
    text: list[list[str]]


@dataclass(frozen=True)
class Evaluation:
    """A run, and the test sets that it was scored on, by name."""

    run: Path
    seed: int
    tests: dict[str, Scored]


def _texts(path: Path) -> list[list[str]]:
    """Return the texts PATH, PATH.ref0, PATH.ref1, ..."""
    count = len(list(path.parent.glob(f"{glob.escape(path.name)}.ref*")))
    return [read_lines(path), *(read_lines(Path(f"{path}.ref{number}")) for number in range(max(count, 1)))]


def read_evaluation(path: Path, name: str) -> Evaluation:
    """Return an evaluation of the run in a folder. Exit if there is none of that name, or if it is not complete."""
    run = RunFolder(path)
    seed, folder = run.seed, run.evaluation(name)
    again = f"run scripts/evaluate_translation.sh {run}"
    tests = {}
    for file in sorted(folder.glob("*.json")):
        texts = []
        for kind in ("tok", "txt"):
            try:
                texts.append(_texts(folder / f"{file.stem}.{kind}"))
                check_lengths(texts[0][0], texts[-1])
            except FileNotFoundError as error:
                sys.exit(f"there is no {error.filename}; {again} again")
            except ValueError as error:
                sys.exit(f"{file.with_suffix('.' + kind)}: {error}; {again} again")
        tests[file.stem] = Scored(read_scores(file, [key for key in KINDS if key != "perplexity"]), *texts)
    if not tests:
        sys.exit(f"{run} was not scored (there is no {folder}); {again}")
    return Evaluation(path, seed, tests)


def check_comparable(runs: list[Evaluation]) -> None:
    """Exit unless all runs were scored on the same test sets, with the same references, in the same way."""
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
    """Return the runs of a group by seed. Exit if two runs have the same seed."""
    found: dict[int, Evaluation] = {}
    for run in runs:
        if run.seed in found:
            sys.exit(f"{found[run.seed].run} and {run.run} in one group have the same seed {run.seed}")
        found[run.seed] = run
    return found


def pairs(group_a: list[Evaluation], group_b: list[Evaluation]) -> list[tuple[Evaluation, Evaluation]]:
    """Return pairs of runs with equal seeds, one of each group. If each group has one run, they are a pair."""
    if len(group_a) == len(group_b) == 1:
        return [(group_a[0], group_b[0])]
    a, b = by_seed(group_a), by_seed(group_b)
    return [(a[seed], b[seed]) for seed in sorted(a.keys() & b.keys())]


def wilcoxon_p(differences: list[float]) -> float:
    """Return the two-sided p-value of the Wilcoxon signed-rank test.

    It is exact for up to 13 differences, also if some are equal or 0: all 2^n combinations of signs are tried, as scipy
    recommends for small samples. For more differences scipy chooses the method.
    """
    rounded = numpy.round(differences, 9)  # numbers that differ only by rounding errors count as equal
    if not rounded.any():
        return 1.0
    few = len(rounded) <= 13
    return float(wilcoxon(rounded, method=PermutationMethod(n_resamples=math.inf) if few else "auto").pvalue)


def cohens_d(a: list[float], b: list[float]) -> float:
    """Return Cohen's d, mean(b) - mean(a) divided by the pooled standard deviation, for two samples of one size."""
    pooled = math.sqrt((variance(a) + variance(b)) / 2)
    return (mean(b) - mean(a)) / pooled if pooled else math.nan


def spread(values: list[float]) -> str:
    """Return a text with the mean and the standard deviation, or with the value if there is only one."""
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
    """Yield for each score that sacrebleu can test: its key, and for bootstrap and randomization p-value and signature.

    The p-values and the signatures are lists of two, bootstrap first.
    """
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
            # sacrebleu counts the resamples that differ more than the texts do, not those that differ as much. For
            # equal scores that would give a p-value near 0.
            same = of_baseline.score == of_system.score  # type: ignore[union-attr]
            p_values.append(1.0 if same else of_system.p_value)  # type: ignore[arg-type, union-attr]
            signatures.append(str(signature))
        yield key, p_values, signatures


def print_pairs(test: str, paired: list[tuple[Evaluation, Evaluation]]) -> None:
    """Print the second table of a test set, sacrebleu's tests of each pair of runs, and their signatures."""
    rows, signatures = [["seed", "score", "A", "B", "B - A", "bootstrap p", "randomization p"]], {}
    for a, b in tqdm(paired, f"paired tests on {test}", leave=False, disable=None):
        seed = str(a.seed) if a.seed == b.seed else f"{a.seed}, {b.seed}"
        for key, p_values, signed in paired_tests(a.tests[test], b.tests[test]):
            of_a, of_b = (run.tests[test].scores[key] for run in (a, b))
            numbers = [f"{of_a:.2f}", f"{of_b:.2f}", f"{of_b - of_a:+.2f}", *(f"{p:.4f}" for p in p_values)]
            rows.append([seed, SCORES[key], *numbers])
            signatures[key] = signed
    sys.stdout.write("\n" + markdown_table(rows) + "\n")
    for key, signed in signatures.items():
        print(f"{SCORES[key]}: " + "; ".join(signed))


def compare(group_a: list[Evaluation], group_b: list[Evaluation]) -> None:
    """Print the runs of both groups, two tables for each test set, and what the number of seeds allows to say."""
    for label, group in (("A", group_a), ("B", group_b)):
        for run in group:
            decoded = run.tests[min(run.tests)].scores
            how = ", ".join(f"{key} {value}" for key, value in decoded["decoding"].items())
            print(f"{label}: {run.run} (seed {run.seed}; {decoded['checkpoint']}, {how})")
    paired = pairs(group_a, group_b)
    for test, scored in group_a[0].tests.items():
        print(f"\n{test} ({scored.scores['sentences']} sentences)\n")
        sys.stdout.write(markdown_table(list(score_rows(test, group_a, group_b))))
        if paired:
            print_pairs(test, paired)
    if len(paired) > 1:
        print(f"\nWilcoxon: {len(paired)} seeds, so the smallest possible p is {2.0 ** (1 - len(paired)):.3g}.")
    elif not paired:
        print("\nNo seed is in both groups: no paired tests.")


def main() -> None:
    """Run the command compare_runs.py."""
    before, after = sys.argv[1:], []
    if "--" in before:
        cut = before.index("--")
        before, after = before[:cut], before[cut + 1 :]
    parser = cli.Parser()
    parser.add_argument("--evaluation", default="best", metavar="NAME")
    parser.add_argument("runs", type=Path, nargs="+", metavar="A")
    args = parser.parse_args(before)
    if not after:
        parser.error("no runs to compare with: give them after --")
    cli.check_each_once([*args.runs, *map(Path, after)])
    group_a = [read_evaluation(run, args.evaluation) for run in args.runs]
    group_b = [read_evaluation(Path(run), args.evaluation) for run in after]
    check_comparable(group_a + group_b)
    compare(group_a, group_b)
