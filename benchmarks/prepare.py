"""Pairs of lines per second of each step that prepares data, with 1 and 2 workers, and what WMT14 takes by that.

python benchmarks/prepare.py FOLDER --pair S-T [--lines N] [--merges N] [--rounds N] [--out DIR] [--quick]

FOLDER holds train.S and train.T, a sentence a line. Each step runs as the prepare scripts run it. The time that it takes
for a single pair, mostly to start its workers, is subtracted. The steps for WMT14 (4.5 and 36 million pairs) are
extrapolated to 16 workers and lines of 25 tokens, on these assumptions:

- the time of a step grows with the tokens;
- each further worker adds what the second one added to the first (nothing if it was no faster), but no step gets faster
  than lower-casing with 2 workers, which does little more than hand lines around in the parent process; the steps that
  run on one core stay as slow;
- learning the merges takes time in proportion to the different words, whose number grows as a power of all words, the
  power that a quarter of the text and all of it give.
"""

import argparse
import contextlib
import functools
import itertools
import math
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from measure import positive, say, seconds, write
from recipes.table import markdown_table
from recipes.text import bpe, moses
from recipes.text.binarize import binarize
from recipes.text.clean import clean
from recipes.text.parallel import join

WORKERS = (1, 2)
TARGETS = {"En-De, 4.5 million pairs": 4_500_000, "En-Fr, 36 million pairs": 36_000_000}
TARGET_WORDS, TARGET_WORKERS = 25, 16
STEPS = (
    *("join and check", "tokens", "tokens, normalized", "lower-case", "count words", "learn merges", "apply BPE"),
    *("clean", "binarize"),
)
# One core does these, however many workers there are.
SERIAL = ("join and check", "clean", "learn merges")
# What prepare_wmt14.sh does not run.
OTHERS = ("tokens", "lower-case")


class Corpus:
    """A parallel text in a folder as it is before each step, in raw/, tok/ and bpe/; `valid` is its first pair."""

    def __init__(self, folder: Path, langs: list[str], texts: list[list[bytes]], merges: int, codes: Path) -> None:
        """Write the texts, and make tokens and subwords of them. The codes are learned if they are not there yet."""
        self.folder, self.langs, self.merges, self.codes = folder, langs, merges, codes
        for name in ("raw", "tok", "bpe"):
            (folder / name).mkdir(parents=True)
        for lang, lines in zip(langs, texts, strict=True):
            (folder / "raw" / f"train.{lang}").write_bytes(b"".join(lines))
            (folder / "raw" / f"valid.{lang}").write_bytes(lines[0])
        moses.tokenize((folder / "raw").iterdir(), folder / "tok", 2, moses.Rules(escape=True))
        if not codes.exists():
            bpe.learn(codes, merges, self.files("tok"), 2)
        bpe.apply(codes, (folder / "tok").iterdir(), folder / "bpe", 2)

    def files(self, name: str) -> list[Path]:
        return [self.folder / name / f"train.{lang}" for lang in self.langs]

    def run(self, step: str, workers: int) -> None:
        """Run a step. What it makes is removed, and what it prints is not shown."""
        raw, subwords = self.folder / "raw", self.folder / "bpe"
        log, splits = self.folder / "log", ["train", "valid"]
        plain, wmt14 = moses.Rules(escape=True), moses.Rules(normalize=True, aggressive=True, escape=True)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
            out = Path(folder)
            {
                "join and check": lambda: join("train", [raw / "train"], self.langs, out),
                "tokens": lambda: moses.tokenize(self.files("raw"), out, workers, plain),
                "tokens, normalized": lambda: moses.tokenize(self.files("raw"), out, workers, wmt14),
                "lower-case": lambda: moses.lowercase(self.files("tok"), out, workers),
                "count words": lambda: bpe.learn(out / "codes", 1, self.files("tok"), workers),
                "learn merges": lambda: bpe.learn(out / "codes", self.merges, self.files("tok"), workers),
                "apply BPE": lambda: bpe.apply(self.codes, self.files("tok"), out, workers),
                "clean": lambda: clean(subwords / "train", self.langs, out, 250),
                "binarize": lambda: binarize(subwords, out, self.langs, splits, joint=True, workers=workers, log=log),
            }[step]()


def words_of(files: list[Path], lines: int) -> tuple[int, int]:
    """Return how many words the first lines of the files hold, and how many different ones."""
    count, different = 0, set()
    for path in files:
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in itertools.islice(file, lines):
                words = line.split()
                count += len(words)
                different.update(words)
    return count, len(different)


def rate(times: dict[tuple[str, int], float], step: str, workers: int, lines: int) -> float:
    """Pairs a second at a number of workers: measured for 1 and 2, beyond that by the assumptions above.

    A time below a hundredth of a second, as --quick may give, counts as that.
    """
    one, two = (lines / max(times.get((step, number), 0), 0.01) for number in WORKERS)
    if step in SERIAL or workers == 1:
        return one
    return two if workers == 2 else min(one + (workers - 1) * max(two - one, 0), rate(times, "lower-case", 2, lines))


def duration(spent: float) -> str:
    """Seconds for a reader."""
    return f"{spent:,.0f} s" if spent < 120 else f"{spent / 60:,.0f} min" if spent < 7200 else f"{spent / 3600:,.1f} h"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="parallel text: train.S and train.T")
    parser.add_argument("--pair", required=True, metavar="S-T", help="its languages")
    parser.add_argument("--lines", type=positive, default=100_000, help="pairs to take (default: 100,000)")
    parser.add_argument("--merges", type=positive, default=32_000, help="merges to learn (default: 32,000)")
    parser.add_argument("--rounds", type=positive, default=3, help="timings of each, at least 1 (default: 3)")
    parser.add_argument("--out", type=Path, default=Path("results/preparation"), help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="1,000 pairs, 100 merges and one round, for trying")
    args = parser.parse_args()
    if args.quick:
        args.lines, args.merges, args.rounds = 1000, 100, 1
    langs = args.pair.split("-")
    texts = []
    for lang in langs:
        with (args.folder / f"train.{lang}").open("rb") as file:
            texts.append(list(itertools.islice(file, args.lines)))
    lines = min(map(len, texts))
    with tempfile.TemporaryDirectory() as folder:
        measured, words, different, exponent = measure_steps(Path(folder), langs, texts, args)
    report(args, lines, measured, words, different, exponent)


def measure_steps(
    folder: Path, langs: list[str], texts: list[list[bytes]], args: argparse.Namespace
) -> tuple[dict[tuple[str, int], float], float, int, float]:
    """Return seconds by step and workers; words a line; different words; the power with which their number grows."""
    codes = folder / "codes"
    say(f"Making tokens and subwords of {len(texts[0]):,} pairs")
    with contextlib.redirect_stdout(None):
        corpora = {
            "whole": Corpus(folder / "whole", langs, texts, args.merges, codes),
            "single": Corpus(folder / "single", langs, [lines[:1] for lines in texts], args.merges, codes),
        }
    runs = [
        (step, workers, corpus)
        for step in STEPS
        for workers in (WORKERS[:1] if step in SERIAL else WORKERS)
        for corpus in corpora
    ]
    say(f"{len(runs)} runs in each of {args.rounds} rounds, after one to warm up")
    named = {
        f"{step}, {workers}, {corpus}": functools.partial(corpora[corpus].run, step, workers)
        for step, workers, corpus in runs
    }
    spent = {name: median(rounds) for name, rounds in seconds(named, args.rounds, "cpu").items()}
    times = {
        (step, workers): spent[f"{step}, {workers}, whole"] - spent[f"{step}, {workers}, single"]
        for step, workers, corpus in runs
        if corpus == "whole"
    }
    times["learn merges", 1] -= times["count words", 1]  # which it does too
    files = corpora["whole"].files("tok")
    count, different = words_of(files, len(texts[0]))
    part, different_part = words_of(files, len(texts[0]) // 4)
    exponent = math.log(different / different_part) / math.log(count / part)
    return times, count / len(texts[0]) / 2, different, exponent


def report(
    args: argparse.Namespace,
    lines: int,
    times: dict[tuple[str, int], float],
    words: float,
    different: int,
    power: float,
) -> None:
    """Write the table, its extrapolation and the bars."""
    rows = [["step", "pairs/s, 1 worker", "2 workers", "ratio", *TARGETS]]
    totals = dict.fromkeys(TARGETS, 0.0)
    estimates: dict[str, dict[str, float]] = {}
    for step in STEPS:
        row = [step, *(f"{rate(times, step, workers, lines):,.0f}" for workers in WORKERS)]
        row.append("one core" if step in SERIAL else f"{times[step, 1] / times[step, 2]:.2f}")
        if step == "learn merges":
            row[1:3] = [f"({times[step, 1]:.1f} s for {different:,} different words)", ""]
        for name, pairs in TARGETS.items():
            factor = pairs / lines * TARGET_WORDS / words
            if step == "learn merges":
                spent = times[step, 1] * factor**power
            else:
                spent = factor * lines / rate(times, step, TARGET_WORKERS, lines)
            estimates.setdefault(name, {})[step] = spent
            row.append("" if step in OTHERS else duration(spent))
            totals[name] += 0 if step in OTHERS else spent
        rows.append(row)
    rows.append(["all that prepare_wmt14.sh runs", "", "", "", *map(duration, totals.values())])
    text = (
        f"{lines:,} pairs of `{args.pair}`, {words:.1f} tokens a line; medians of {args.rounds} rounds. Estimates:"
        f" {TARGET_WORKERS} workers, {TARGET_WORDS} tokens a line, {args.merges:,} merges, different words growing with"
        f" all words to the power {power:.2f}.\n\n{markdown_table(rows)}"
    )

    facts = {
        "pairs": lines,
        "tokens_a_line": words,
        "different_words": different,
        "power": power,
        "seconds": {f"{step}, {workers} workers": spent for (step, workers), spent in times.items()},
        "estimated_seconds": estimates,
    }
    write(args.out, "prepare", text, facts, draw)


def draw(facts: dict[str, Any], pyplot: Any) -> Any:
    times = {(step, n): facts["seconds"].get(f"{step}, {n} workers", 0) for step in STEPS for n in WORKERS}
    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    shown = [step for step in STEPS if step != "learn merges"]
    for offset, workers in enumerate(WORKERS):
        places = [number + 0.4 * offset for number in range(len(shown))]
        speeds = [rate(times, step, workers, facts["pairs"]) for step in shown]
        bars = axes.barh(places, speeds, 0.4, label=f"{workers} worker{'s' * offset}")
        axes.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=8)
    axes.set_yticks([number + 0.2 for number in range(len(shown))], shown)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.1)
    axes.set_xlabel("pairs of lines a second")
    figure.legend(loc="outside lower center", ncols=len(WORKERS))
    return figure


if __name__ == "__main__":
    main()
