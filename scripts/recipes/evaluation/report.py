"""Compare finished runs of one dataset: a table of scores and the curves of training. See scripts/report.py."""

import json
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from recipes import cli
from recipes.evaluation.checkpoint_choice import read_config, setting
from recipes.evaluation.score import read_scores
from recipes.files import read_lines
from recipes.table import markdown_table

LOGGED = re.compile(r"\[(valid|train_inner|train)\]\[INFO\] - (\{.*\})$")
SAVED = re.compile(r" - Saved checkpoint .* @ (\d+) updates, score ([-+.\w]+)\) \(writing took ")
STARTED = re.compile(r" - (?:No existing checkpoint found |Loaded checkpoint .*\(epoch \d+ @ (\d+) updates\)$)")
SCORES = {
    "BLEU": "bleu",
    "tokenized": "tokenized_bleu",
    "compound split": "compound_split_bleu",
    "chrF": "chrf",
    "perplexity": "perplexity",
}
COLORS = ("tab:gray", "tab:blue", "tab:orange", "tab:green")
SLOW, LONG = 3, 60  # A run was stopped where updates took so many times the usual, and so many seconds more.


def read_log(log: Path) -> dict[str, dict[int, dict[str, float]]]:
    """Return what fairseq logged of the updates that led to the last checkpoint, and of those after it.

    A start that goes on from a checkpoint makes void what earlier ones logged of later updates.

    Returns:
        {"valid", "train_inner", "train" (ends of epochs) or "saved" (checkpoints): {update: its numbers}}. Those of
        train_inner hold beside fairseq's "interval", the number of updates that it sums up; those of saved the "score".
    """
    found: dict[str, dict[int, dict[str, float]]] = {"valid": {}, "train_inner": {}, "train": {}, "saved": {}}
    summed = 0  # the last update that the log has summed up
    for line in log.read_text(encoding="utf-8", errors="replace").split("\n"):
        if match := STARTED.search(line):
            start = int(match[1] or -1)
            found = {tag: {at: of for at, of in logs.items() if at <= start} for tag, logs in found.items()}
            # fairseq keeps what it has begun to sum up in its checkpoints, but for those at the end of an epoch.
            summed = start if start in found["train"] else max(found["train_inner"], default=0)
        elif match := SAVED.search(line):
            with suppress(ValueError):  # None: there was no validation
                found["saved"][int(match[1])] = {"score": float(match[2])}
        elif match := LOGGED.search(line):
            tag, prefix = match[1], "" if match[1] == "train_inner" else f"{match[1]}_"
            try:
                values = {key.removeprefix(prefix): float(value) for key, value in json.loads(match[2]).items()}
                update = int(values["num_updates"])
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                continue  # cut short by a kill, and the first line of the next start after it
            found[tag][update] = values
            if tag == "train_inner":
                values["interval"] = update - summed
                summed = update
    return found


def update_times(inner: dict[int, dict[str, float]]) -> tuple[dict[int, float], float]:
    """Return the seconds that an update took up to each logged one, and the seconds in which the run was stopped.

    Where it was stopped, which its clock does not know of, its updates count as the median of the run.
    """
    times = {at: of.get("train_wall", 0.0) / of["interval"] for at, of in sorted(inner.items()) if of["interval"] > 0}
    usual, stopped = median(times.values()) if times else 0.0, 0.0
    for at, time in times.items():
        more = (time - usual) * inner[at]["interval"]
        if time > SLOW * usual and more > LONG:
            times[at] = usual
            stopped += more
    return times, stopped


def seconds(times: dict[int, float], update: int) -> float:
    """Return how long the run had trained at an update; between and after those logged, at the pace around it."""
    total, last, time = 0.0, 0, 0.0
    for at, time in times.items():
        total += (min(at, update) - min(last, update)) * time
        last = at
    return total + max(0, update - last) * time


def best_update(saved: dict[int, dict[str, float]], maximize: bool) -> int | None:
    """Return the update of checkpoint_best.pt, as fairseq chooses it: of equal scores the last; NaN never."""
    best = chosen = None
    for update, logs in sorted(saved.items()):
        score = logs["score"]
        best = score if best is None else max(score, best) if maximize else min(score, best)
        if score >= best if maximize else score <= best:
            chosen = update
    return chosen


def read_run(run: Path, evaluation: str) -> dict[str, Any]:
    """Return the name, seed, curve, best validation and test scores of a run; exit if it is not whole."""
    maximize = setting(run, read_config(run), "checkpoint.maximize_best_checkpoint_metric", bool, False)
    log = read_log(run / "train.log")
    times, stopped = update_times(log["train_inner"])
    if stopped:
        print(f"{run}: {stopped / 60:.1f} minutes in which it was stopped are not counted", file=sys.stderr)
    kept = [key for key in ("loss", "ppl", "bleu") if all(key in valid for valid in log["valid"].values())]
    if not log["valid"] or kept[:2] != ["loss", "ppl"]:
        sys.exit(f"{run}: its train.log holds no validation with loss and ppl")
    curve: list[dict[str, float]] = []
    for update, valid in sorted(log["valid"].items()):
        curve.append({"update": update, "seconds": seconds(times, update), **{key: valid[key] for key in kept}})
    best = best_update(log["saved"], maximize)
    if best not in log["valid"]:
        sys.exit(f"{run}: its train.log tells of no checkpoint that is best on validation")
    scored = sorted((run / "evaluation" / evaluation).glob("*.json"))
    if not scored:
        kind = "translation" if "bleu" in curve[0] else "lm"
        sys.exit(f"{run} was not scored (no evaluation/{evaluation}); run scripts/evaluate_{kind}.sh {run}")
    folder = Path(os.path.abspath(run))
    return {
        "name": folder.parent.name,
        "seed": folder.name.removeprefix("seed"),
        "versions": read_lines(run / "versions.txt"),
        "best": next(point for point in curve if point["update"] == best),
        "tests": {path.stem: read_scores(path) for path in scored},
        "curve": curve,
    }


def columns(run: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a run that stand in the table."""
    numbers = {
        "updates": run["curve"][-1]["update"],
        "minutes": run["curve"][-1]["seconds"] / 60,
        "best at": run["best"]["update"],
        "valid ppl": run["best"]["ppl"],
    }
    if "bleu" in run["best"]:
        numbers["valid BLEU"] = run["best"]["bleu"]
    for name, test in run["tests"].items():
        for label, key in SCORES.items():
            if key in test:
                numbers[f"{name} {label}"] = test[key]
    return numbers


def table(runs: list[dict[str, Any]]) -> str:
    """Return a Markdown table with a row for each run and, for several seeds, the mean and standard deviation."""
    names = list(columns(runs[0]))
    decimals = {"updates": 0, "best at": 0, "minutes": 1}
    rows = [["run", "seed", *names]]
    for config in dict.fromkeys(run["name"] for run in runs):
        members = [run for run in runs if run["name"] == config]
        numbers = [columns(run) for run in members]
        for run, row in zip(members, numbers, strict=True):
            rows.append([config, run["seed"], *(f"{row[name]:.{decimals.get(name, 2)}f}" for name in names)])
        if len(members) > 1:
            values = [[row[name] for row in numbers] for name in names]
            rows.append(["**" + config + "**", "mean ± std", *(f"{mean(v):.2f} ± {stdev(v):.2f}" for v in values)])
    return markdown_table(rows)


def plot(runs: list[dict[str, Any]], path: Path) -> None:
    """Draw validation loss, and BLEU or perplexity, by update and by training time (as in the paper's figure 2).

    Without matplotlib there is no figure, and no earlier one stays.
    """
    path.unlink(missing_ok=True)
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        print(f"matplotlib is not installed: no {path.name}", file=sys.stderr)
        return
    score = ("bleu", "validation BLEU") if "bleu" in runs[0]["curve"][0] else ("ppl", "validation perplexity")
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    colors = dict(zip(dict.fromkeys(run["name"] for run in runs), COLORS * len(runs), strict=False))
    for column, (x, unit, scale) in enumerate((("update", "update", 1), ("seconds", "training time (minutes)", 60))):
        for row, (y, label) in enumerate((("loss", "validation loss (bits)"), score)):
            axis = axes[row][column]
            for run in runs:
                points = [(point[x] / scale, point[y]) for point in run["curve"]]
                first = run is next(other for other in runs if other["name"] == run["name"])
                axis.plot(*zip(*points, strict=True), color=colors[run["name"]], label=run["name"] if first else None)
            axis.set(xlabel=unit, ylabel=label)
            axis.grid(alpha=0.3)
    with rc_context({"text.parse_math": False}):
        axes[0][0].legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--evaluation", default="best", metavar="NAME")
    args = parser.parse_args()
    cli.check_each_once(args.runs)
    for path in args.runs:
        if not (path / "train.log").is_file():
            sys.exit(f"{path}: no run folder of scripts/train.sh (it has no train.log)")
    runs = [read_run(path, args.evaluation) for path in args.runs]
    configs = [Path(os.path.abspath(path)).parent for path in args.runs]
    common = os.path.commonpath([config.parent for config in configs])
    for path, config, run in zip(args.runs, configs, runs, strict=True):
        run["name"] = str(config.relative_to(common))  # of several recipes: baseline is not one name
        if differing := sorted(columns(run).keys() ^ columns(runs[0]).keys()):
            sys.exit(f"{path} and {args.runs[0]} were scored otherwise: {', '.join(differing)} is only in one of them")
    args.out.mkdir(parents=True, exist_ok=True)
    text = table(runs)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    (args.out / "runs.json").write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    plot(runs, args.out / "curves.png")
    sys.stdout.write(text)
