"""Compare two groups of scored runs, A and B: the command scripts/compare_runs.py."""

import glob
import math
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations, product
from pathlib import Path
from statistics import mean, variance
from typing import Any

import numpy
from sacrebleu.metrics.base import Metric
from sacrebleu.significance import PairedTest
from scipy.stats import wilcoxon
from tqdm import tqdm

from recipes import cli
from recipes.evaluation import rouge
from recipes.evaluation.measures import OF_SENTENCES, OF_SUMMARIES
from recipes.evaluation.score import (
    as_perl_splits,
    check_lengths,
    needed_to_compare,
    read_scores,
    text_metrics,
    token_metric,
)
from recipes.files import read_lines
from recipes.table import markdown_table, p_text, spread
from recipes.training.run_folder import RunFolder

SCORES = {
    "bleu": "sacreBLEU",
    "tokenized_bleu": "multi-bleu",
    "compound_split_bleu": "compound split",
    "chrf": "chrF",
    **OF_SENTENCES,
    **OF_SUMMARIES,
}

# What an evaluation has scored, by the texts that it wrote.
OF_TEXTS: dict[tuple[str, ...], str] = {(): "labels", ("txt",): "summaries", ("tok", "txt"): "translations"}


class Evaluation(RunFolder):
    """A run with the test sets that it was scored on, by name.

    A test set has the scores by their names in the file of the evaluation. If it is translated, its "tok" and "txt" are
    the translation followed by the references, tokenized and as plain text; summaries have "txt" alone.
    """

    def __init__(self, path: Path, name: str) -> None:
        """Read the evaluation of that name. Exit if it is not complete."""
        super().__init__(path)
        of_sentences = self.kind == "sentence_prediction"
        needed = (lambda _: ("sentences", "checkpoint")) if of_sentences else needed_to_compare
        self.tests = read_scores(self, name, needed)
        of_summaries = any("rouge_signature" in scored for scored in self.tests.values())
        self.texts = tuple([] if of_sentences else ["txt"] if of_summaries else ["tok", "txt"])
        for (test, scored), kind in product(self.tests.items(), self.texts):
            translation = self.evaluation(name) / f"{test}.{kind}"
            count = len(list(translation.parent.glob(f"{glob.escape(translation.name)}.ref*"))) or 1
            try:
                paths = [translation, *(Path(f"{translation}.ref{number}") for number in range(count))]
                scored[kind] = [read_lines(path) for path in paths]
                check_lengths(scored[self.texts[0]][0], scored[kind])
            except FileNotFoundError as error:
                sys.exit(f"there is no {error.filename}: evaluate the run again")
            except ValueError as error:
                sys.exit(f"{translation}: {error}: evaluate the run again")


Pairs = list[tuple[Evaluation, Evaluation]]


def check_comparable(group_a: list[Evaluation], group_b: list[Evaluation]) -> None:
    """Exit unless all were scored on the same test sets in the same way, and each seed is once in its group."""
    for one, other in [*combinations(group_a, 2), *combinations(group_b, 2)]:
        if one.seed == other.seed:
            sys.exit(f"{one} and {other} in one group have the same seed {one.seed}")
    first = group_a[0]
    for run in group_a + group_b:
        if run.texts != first.texts:
            sys.exit(f"{first} was scored on {OF_TEXTS[first.texts]}, {run} on {OF_TEXTS[run.texts]}")
        if run.tests.keys() != first.tests.keys():
            sys.exit(f"{first} was scored on {', '.join(first.tests)}, {run} on {', '.join(run.tests)}")
        for name, test in run.tests.items():
            expected = first.tests[name]
            measured = [[label for key, label in SCORES.items() if key in of] for of in (expected, test)]
            if measured[0] != measured[1] or test["sentences"] != expected["sentences"]:
                told = (
                    f"{', '.join(keys)} of {of['sentences']} sentences"
                    for keys, of in zip(measured, (expected, test), strict=True)
                )
                sys.exit(f"{name}: {first} has {next(told)}, {run} {next(told)}")
            if any(test[kind][1:] != expected[kind][1:] for kind in run.texts):
                sys.exit(f"{name}: the references of {run} differ from those of {first}")
            for key in ("bleu_signature", "chrf_signature", "rouge_signature"):
                if test.get(key) != expected.get(key):
                    sys.exit(f"{name}: {run} was scored by {test[key]}, {first} by {expected[key]}")


def wilcoxon_p(differences: list[float]) -> float:
    """Return the two-sided p-value of the Wilcoxon signed-rank test. It is exact for up to 13 differences."""
    rounded = numpy.round(differences, 9)  # numbers that differ only by rounding errors count as equal
    return float(wilcoxon(rounded).pvalue) if rounded.any() else 1.0


def cohens_d(a: list[float], b: list[float]) -> float:
    """Return Cohen's d, mean(b) - mean(a) divided by the pooled standard deviation, for two samples of one size."""
    pooled = math.sqrt((variance(a) + variance(b)) / 2)
    return (mean(b) - mean(a)) / pooled if pooled else math.nan


def score_rows(test: str, groups: list[list[Evaluation]], pairs: Pairs) -> list[list[str]]:
    """Return the rows of the first table: each score in both groups, and the tests over seeds."""
    rows = [["score", "A", "B", "B - A", "Wilcoxon p", "Cohen's d"]]
    for key, label in SCORES.items():
        if key not in groups[0][0].tests[test]:
            continue
        a, b = ([run.tests[test][key] for run in group] for group in groups)
        over_seeds = ["", ""]
        if len(pairs) > 1:
            of_a, of_b = ([run.tests[test][key] for run in side] for side in zip(*pairs, strict=True))
            p = wilcoxon_p([other - one for one, other in zip(of_a, of_b, strict=True)])
            over_seeds = [p_text(p), f"{cohens_d(of_a, of_b):.2f}"]
        rows.append([label, spread(a), spread(b), f"{mean(b) - mean(a):+.2f}", *over_seeds])
    return rows


def paired_tests(a: dict[str, Any], b: dict[str, Any]) -> Iterator[tuple[str, list[float], list[str]]]:
    """Yield each score that sacrebleu can test, with the p-values and the signatures of bootstrap and randomization."""
    for key, metric, (of_b, of_a, *references) in tested_scores(a, b):
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


def tested_scores(a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, Metric, list[list[str]]]]:
    """Return the metrics that sacrebleu can test by their names, with the texts of B and A and the references."""
    text = [b["txt"][0], *a["txt"]]
    if "rouge_signature" in a:
        return [(key, metric, text) for key, metric in rouge.metrics("character_bleu" in a).items()]
    bleu, chrf = text_metrics(a["lang"], a["lowercase"])
    if f"|tok:{bleu.tokenizer_signature}|" not in a["bleu_signature"]:
        scored_by = f"{a['bleu_signature']}, and now {a['lang']} takes tok:{bleu.tokenizer_signature}"
        sys.exit(f"the runs were scored by {scored_by}: evaluate them again")
    tokens = [as_perl_splits(lines) for lines in (b["tok"][0], *a["tok"])]
    return [("bleu", bleu, text), ("tokenized_bleu", token_metric(), tokens), ("chrf", chrf, text)]


def print_pairs(test: str, pairs: Pairs) -> None:
    """Print the second table of a test set, sacrebleu's tests of each pair of runs, and their signatures."""
    rows, signatures = [["seed", "score", "A", "B", "B - A", "bootstrap p", "randomization p"]], {}
    for a, b in tqdm(pairs, f"paired tests on {test}", leave=False, disable=None):
        seed = str(a.seed) if a.seed == b.seed else f"{a.seed}, {b.seed}"
        for key, p_values, signed in paired_tests(a.tests[test], b.tests[test]):
            of_a, of_b = (run.tests[test][key] for run in (a, b))
            numbers = [f"{of_a:.2f}", f"{of_b:.2f}", f"{of_b - of_a:+.2f}", *map(p_text, p_values)]
            rows.append([seed, SCORES[key], *numbers])
            signatures[key] = signed
    sys.stdout.write("\n" + markdown_table(rows) + "\n")
    for key, signed in signatures.items():
        print(f"{SCORES[key]}: " + "; ".join(signed))


def main(arguments: Sequence[str]) -> None:
    """Run the command compare_runs.py."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = cli.Parser()
    parser.add_argument("--evaluation", default="best", metavar="NAME")
    parser.add_argument("runs", type=Path, nargs="+", metavar="A")
    args = parser.parse_args(arguments[:cut])
    others = [Path(run) for run in arguments[cut + 1 :]]
    if not others:
        parser.error("no runs to compare with: give them after --")
    cli.check_each_once(args.runs + others)
    group_a, group_b = groups = [[Evaluation(run, args.evaluation) for run in runs] for runs in (args.runs, others)]
    check_comparable(group_a, group_b)
    pairs = [(a, b) for a in group_a for b in group_b if a.seed == b.seed or len(group_a) == len(group_b) == 1]
    pairs.sort(key=lambda pair: pair[0].seed)
    for label, group in zip("AB", groups, strict=True):
        for run in group:
            decoded = run.tests[min(run.tests)]
            how = "".join(f", {key} {value}" for key, value in decoded.get("decoding", {}).items())
            print(f"{label}: {run} (seed {run.seed}; {decoded['checkpoint']}{how})")
    for test, scored in group_a[0].tests.items():
        print(f"\n{test} ({scored['sentences']} sentences)\n")
        sys.stdout.write(markdown_table(score_rows(test, groups, pairs)))
        if pairs and group_a[0].texts:
            print_pairs(test, pairs)
    if len(pairs) > 1:
        print(f"\nWilcoxon: {len(pairs)} seeds, so the smallest possible p is {2.0 ** (1 - len(pairs)):.3g}.")
    elif not pairs:
        print("\nNo seed is in both groups: no paired tests.")
