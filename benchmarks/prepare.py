"""Pairs of lines per second of each step that prepares data, with 1 and 2 workers, and what WMT14 takes by that.

python benchmarks/prepare.py FOLDER --pair S-T [--lines N] [--merges N] [--rounds N] [--out DIR] [--quick]

FOLDER holds train.S and train.T, a sentence a line. Each step runs as the prepare scripts run it, as a process of its
own; the time that it takes for a single pair, to start, is taken off. The steps for WMT14 (4.5 and 36 million pairs)
are extrapolated to 16 workers and lines of 25 tokens, on these assumptions:

- the time of a step grows with the tokens;
- on all cores each worker more adds what the second added to the first (nothing where it was no faster), but no step
  gets faster than lower-casing with 2 workers, which is little more than handing lines around in the parent process;
  steps on one core stay as slow;
- learning the merges takes time in proportion to the different words, whose number grows as a power of all words, the
  power that a quarter of the text and all of it give.
"""

import argparse
import functools
import itertools
import math
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from measure import ROOT, positive, say, seconds, write
from recipes.table import markdown_table

WORKERS = (1, 2)
TARGETS = {"En-De, 4.5 million pairs": 4_500_000, "En-Fr, 36 million pairs": 36_000_000}
TARGET_WORDS, TARGET_WORKERS = 25, 16
STEPS = (
    *("join and check", "tokens", "tokens, normalized", "lower-case", "count words", "learn merges", "apply BPE"),
    *("clean", "binarize"),
)
# One core does these, whatever the number of workers.
SERIAL = ("join and check", "clean", "learn merges")
# What prepare_wmt14.sh does not run.
OTHERS = ("tokens", "lower-case")


class Corpus:
    """A parallel text as it stands after each step, in a folder: raw, tok, bpe."""

    def __init__(self, folder: Path, langs: list[str], texts: list[list[bytes]]) -> None:
        self.folder, self.langs, self.out = folder, langs, folder / "out"
        for name in ("raw", "tok", "bpe", "out"):
            (folder / name).mkdir(parents=True)
        for lang, lines in zip(langs, texts, strict=True):
            with (folder / "raw" / f"train.{lang}").open("wb") as file:
                file.writelines(lines)

    def files(self, name: str) -> list[str]:
        return [str(self.folder / name / f"train.{lang}") for lang in self.langs]

    def run(self, step: str, workers: int, merges: int, codes: Path, out: Path | None = None) -> None:
        """Run a step, with what it makes in the folder `out`, or one that is emptied before each step."""
        if out is None:
            out = self.out
            shutil.rmtree(out)
            out.mkdir()
        bpe = str(self.folder / "bpe" / "train")
        pair = ["--langs", *self.langs, "--out-dir", str(out)]
        many = ["--workers", str(workers)]
        tokens = ["moses", "tokenize", "--escape", *many, "--out-dir", str(out)]
        learn = ["bpe", "learn", *many, "--codes", str(out / "codes"), *self.files("tok")]
        sides = [
            part
            for side, lang in zip(("source", "target"), self.langs, strict=True)
            for part in (f"--{side}-lang", lang)
        ]
        single = str(self.folder.parent / "single" / "bpe" / "train")
        texts = ["--trainpref", bpe, "--validpref", single, "--testpref", single]
        run_tool(
            {
                "join and check": ["join_parallel", *pair, f"train={self.folder / 'raw' / 'train'}"],
                "tokens": [*tokens, *self.files("raw")],
                "tokens, normalized": [*tokens, "--aggressive", "--normalize", *self.files("raw")],
                "lower-case": ["moses", "lowercase", *many, "--out-dir", str(out), *self.files("tok")],
                "clean": ["clean_parallel", *pair, "--max", "250", bpe],
                "count words": [*learn, "--merges", "1"],
                "learn merges": [*learn, "--merges", str(merges)],
                "apply BPE": ["bpe", "apply", *many, "--codes", str(codes), "--out-dir", str(out), *self.files("tok")],
                "binarize": [
                    "binarize",
                    "--log",
                    str(out / "log"),
                    "--destdir",
                    str(out / "bin"),
                    *many,
                    *sides,
                    *texts,
                ]
                + ["--joined-dictionary"],
            }[step]
        )


def run_tool(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, str(ROOT / "scripts/tool.py"), *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed: {done.stderr.strip()}")


def words_of(files: list[str], lines: int) -> tuple[int, int]:
    """Return how many words the first lines of the files hold, and how many different ones."""
    count, different = 0, set()
    for name in files:
        with open(name, encoding="utf-8", newline="\n") as file:
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
    corpora = {
        "whole": Corpus(folder / "whole", langs, texts),
        "single": Corpus(folder / "single", langs, [t[:1] for t in texts]),
    }
    for corpus in corpora.values():
        corpus.run("tokens", 2, 0, codes, corpus.folder / "tok")
        if not codes.exists():
            corpus.run("learn merges", 2, args.merges, codes, folder)
        corpus.run("apply BPE", 2, 0, codes, corpus.folder / "bpe")
    runs = [
        (step, workers, corpus)
        for step in STEPS
        for workers in (WORKERS[:1] if step in SERIAL else WORKERS)
        for corpus in corpora
    ]
    say(f"{len(runs)} runs in each of {args.rounds} rounds, after one to warm up")
    named = {
        f"{step}, {workers}, {corpus}": functools.partial(corpora[corpus].run, step, workers, args.merges, codes)
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
