"""Measure the pairs of lines per second of each step that prepares data, with 1 and 2 workers; estimate WMT14's time.

python benchmarks/prepare.py FOLDER --pair S-T [--lines N] [--merges N] [--rounds N] [--out DIR] [--quick]

FOLDER holds train.S and train.T, a sentence a line. Each step runs as the prepare scripts run it. Its time for a single
pair, mostly to start its workers, is subtracted. The steps for WMT14 (4.5 and 36 million pairs) are extrapolated to 16
workers and lines of 25 tokens, on these assumptions:

- the time of a step grows with the tokens;
- each further worker adds what the second one added to the first (nothing if it was no faster), but no step gets faster
  than lower-casing with 2 workers, which does little more than hand lines around in the parent process; the steps that
  run on one core stay as slow;
- learning the merges takes time in proportion to the different words, whose number grows as a power of all words, the
  power that a quarter of the text and all of it give.
"""

import contextlib
import functools
import itertools
import math
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from measure import Facts, arguments, by_step, one_round, say, write
from ratios import draw_bars
from recipes import cli
from recipes.files import read_lines
from recipes.table import markdown_table
from recipes.text import bpe, moses
from recipes.text.binarize import binarize
from recipes.text.clean import clean
from recipes.text.line_pool import map_files
from recipes.text.parallel import join, side

TARGETS = {"En-De, 4.5 million pairs": 4_500_000, "En-Fr, 36 million pairs": 36_000_000}
TARGET_WORDS, TARGET_WORKERS = 25, 16
SERIAL = ("join and check", "clean", "learn merges")  # one core does these, however many workers there are
OTHERS = ("tokens", "lower-case")  # prepare_wmt14.sh does not run these
PLAIN, WMT14 = moses.Rules(escape=True), moses.Rules(normalize=True, aggressive=True, escape=True)
Times = dict[tuple[str, int], float]  # seconds by step and number of workers


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
        moses.tokenize((folder / "raw").iterdir(), folder / "tok", 2, PLAIN)
        if not codes.exists():
            bpe.learn(codes, merges, self.files("tok"), 2)
        map_files(functools.partial(bpe.applier, codes), (folder / "tok").iterdir(), folder / "bpe", 2)

    def files(self, name: str) -> list[Path]:
        """Return the files of the training set in raw, tok or bpe."""
        return [side(self.folder / name / "train", lang) for lang in self.langs]

    def run(self, step: str, workers: int) -> None:
        """Run a step. What it makes is removed, and what it prints is not shown."""
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
            STEPS[step](self, Path(folder), workers)


STEPS: dict[str, Callable[[Corpus, Path, int], Any]] = {
    "join and check": lambda text, out, n: join("train", [text.folder / "raw" / "train"], text.langs, out),
    "tokens": lambda text, out, n: moses.tokenize(text.files("raw"), out, n, PLAIN),
    "tokens, normalized": lambda text, out, n: moses.tokenize(text.files("raw"), out, n, WMT14),
    "lower-case": lambda text, out, n: moses.lowercase(text.files("tok"), out, n),
    "count words": lambda text, out, n: bpe.learn(out / "codes", 1, text.files("tok"), n),
    "learn merges": lambda text, out, n: bpe.learn(out / "codes", text.merges, text.files("tok"), n),
    "apply BPE": lambda text, out, n: map_files(functools.partial(bpe.applier, text.codes), text.files("tok"), out, n),
    "clean": lambda text, out, n: clean(text.folder / "bpe" / "train", text.langs, out, 250),
    "binarize": lambda text, out, n: binarize(
        text.folder / "bpe", out, text.langs, ["train", "valid"], joint=True, workers=n, log=text.folder / "log"
    ),
}


def words_of(files: list[Path], lines: int) -> tuple[int, int]:
    """Return how many words the first lines of the files hold, and how many different ones."""
    words = Counter(word for file in files for line in read_lines(file)[:lines] for word in line.split())
    return words.total(), len(words)


def rate(times: Times, step: str, workers: int, lines: int) -> float:
    """Return the pairs per second with a number of workers, beyond 2 by the assumptions above.

    A time below a hundredth of a second, as --quick may give, counts as that.
    """
    one, two = (lines / max(times.get((step, number), 0), 0.01) for number in (1, 2))
    if step in SERIAL or workers == 1:
        return one
    return two if workers == 2 else min(one + (workers - 1) * max(two - one, 0), rate(times, "lower-case", 2, lines))


def duration(spent: float) -> str:
    """Return a number of seconds in the unit that reads best."""
    return f"{spent:,.0f} s" if spent < 120 else f"{spent / 60:,.0f} min" if spent < 7200 else f"{spent / 3600:,.1f} h"


def measure_steps(folder: Path, langs: list[str], texts: list[list[bytes]], args: Namespace) -> tuple[Times, Facts]:
    """Return the times, and what must be known of the text to extrapolate them."""
    say(f"Making tokens and subwords of {len(texts[0]):,} pairs")
    with contextlib.redirect_stdout(None):
        whole = Corpus(folder / "whole", langs, texts, args.merges, folder / "codes")
        single = Corpus(folder / "single", langs, [lines[:1] for lines in texts], args.merges, folder / "codes")
    runs = [(step, workers) for step in STEPS for workers in ((1,) if step in SERIAL else (1, 2))]
    named = {
        f"{name}, {step}, {workers}": functools.partial(corpus.run, step, workers)
        for step, workers in runs
        for name, corpus in (("whole", whole), ("single", single))
    }
    say(f"{len(named)} runs in each of {args.rounds} rounds, after one to warm up")
    spent = by_step([one_round(named, number) for number in range(-1, args.rounds)])
    times = {
        (step, workers): median(spent[f"whole, {step}, {workers}"]) - median(spent[f"single, {step}, {workers}"])
        for step, workers in runs
    }
    times["learn merges", 1] -= times["count words", 1]  # which it does too
    lines = len(texts[0])
    (count, different), (part, different_part) = (words_of(whole.files("tok"), n) for n in (lines, lines // 4))
    power = math.log(different / different_part) / math.log(count / part)
    return times, {
        "pairs": min(map(len, texts)),
        "tokens_a_line": count / lines / 2,
        "different_words": different,
        "power": power,
        "seconds": {f"{step}, {workers} workers": spent for (step, workers), spent in times.items()},
    }


def estimate(times: Times, step: str, pairs: int, facts: Facts) -> float:
    """Return the seconds that a step takes for a number of pairs, by the assumptions above."""
    factor = pairs / facts["pairs"] * TARGET_WORDS / facts["tokens_a_line"]
    if step == "learn merges":
        return times[step, 1] * factor ** facts["power"]
    return factor * facts["pairs"] / rate(times, step, TARGET_WORKERS, facts["pairs"])


def table(times: Times, facts: Facts) -> str:
    """Return the table of the steps: what was measured, and the estimates."""
    estimates = facts["estimated_seconds"]
    rows = [["step", "pairs/s, 1 worker", "2 workers", "ratio", *TARGETS]]
    for step in STEPS:
        row = [step, *(f"{rate(times, step, workers, facts['pairs']):,.0f}" for workers in (1, 2))]
        if step == "learn merges":
            row[1:] = [f"({times[step, 1]:.1f} s for {facts['different_words']:,} different words)", ""]
        row.append("one core" if step in SERIAL else f"{times[step, 1] / times[step, 2]:.2f}")
        rows.append([*row, *("" if step in OTHERS else duration(estimates[name][step]) for name in TARGETS)])
    totals = [sum(spent for step, spent in estimates[name].items() if step not in OTHERS) for name in TARGETS]
    return markdown_table([*rows, ["all that prepare_wmt14.sh runs", "", "", "", *map(duration, totals)]])


def draw(facts: Facts) -> Any:
    """Return the figure of a result."""
    times = {(step, n): facts["seconds"].get(f"{step}, {n} workers", 0) for step in STEPS for n in (1, 2)}
    shown = [step for step in STEPS if step != "learn merges"]
    workers = {"1 worker": 1, "2 workers": 2}
    speeds = {name: [rate(times, step, n, facts["pairs"]) for step in shown] for name, n in workers.items()}
    figure = draw_bars(speeds, shown, "pairs of lines a second", "{:,.0f}", 4.5)
    figure.axes[0].set_xscale("log")
    return figure


def main() -> None:
    """Measure, and write the tables."""
    parser = arguments(__doc__, rounds=3, out="results/preparation")
    parser.add_argument("folder", type=Path, help="parallel text: train.S and train.T")
    parser.add_argument("--pair", required=True, metavar="S-T", help="its languages")
    parser.add_argument("--lines", type=cli.positive, default=100_000, help="pairs to take (default: 100,000)")
    parser.add_argument("--merges", type=cli.positive, default=32_000, help="merges to learn (default: 32,000)")
    args = parser.parse_args()
    if args.quick:
        args.lines, args.merges, args.rounds = 1000, 100, 1
    langs = args.pair.split("-")
    texts = []
    for lang in langs:
        with (args.folder / f"train.{lang}").open("rb") as file:
            texts.append(list(itertools.islice(file, args.lines)))
    with tempfile.TemporaryDirectory() as folder:
        times, facts = measure_steps(Path(folder), langs, texts, args)
    facts["estimated_seconds"] = {
        name: {step: estimate(times, step, pairs, facts) for step in STEPS} for name, pairs in TARGETS.items()
    }
    text = (
        f"{facts['pairs']:,} pairs of `{args.pair}`, {facts['tokens_a_line']:.1f} tokens a line; medians of "
        f"{args.rounds} rounds. Estimates: {TARGET_WORKERS} workers, {TARGET_WORDS} tokens a line, {args.merges:,} "
        f"merges, different words growing with all words to the power {facts['power']:.2f}.\n\n{table(times, facts)}"
    )
    write(args.out, "prepare", text, facts, draw)


if __name__ == "__main__":
    main()
