"""Compare finished runs of one dataset: a table of scores and the curves of training.

report.py --out DIR [--evaluation NAME] RUN... takes run folders of scripts/train.sh (.../CONFIG/seedN) that
scripts/evaluate_translation.sh or evaluate_lm.sh has scored, and writes DIR/table.md, DIR/curves.png and DIR/runs.json
(scores, curves, versions of every run). The scores are those in RUN/evaluation/NAME (default: best).
"""

import json
import re
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import arguments
import markdown_table
import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

LOG_LINE = re.compile(r"\[(valid|train_inner)\]\[INFO\] - (\{.*\})$")
SCORES = {
    "BLEU": "bleu",
    "tokenized": "tokenized_bleu",
    "compound split": "compound_split_bleu",
    "chrF": "chrf",
    "perplexity": "perplexity",
}
COLORS = ("tab:gray", "tab:blue", "tab:orange", "tab:green")


def read_log(log: Path) -> dict[str, dict[int, dict[str, float]]]:
    """Return {"valid" or "train_inner": {update: what was logged}}; of an update that was logged twice, the last."""
    found: dict[str, dict[int, dict[str, float]]] = {"valid": {}, "train_inner": {}}
    for line in log.read_text(encoding="utf-8").split("\n"):
        if match := LOG_LINE.search(line):
            values = {key.removeprefix("valid_"): float(value) for key, value in json.loads(match[2]).items()}
            found[match[1]][int(values["num_updates"])] = values
    return found


def read_run(run: Path, evaluation: str) -> dict[str, Any]:
    """Return the name, seed, curve, best validation and test scores of a run."""
    log = read_log(run / "train.log")
    if not log["valid"]:
        sys.exit(f"{run}: its train.log holds no validation")
    curve: list[dict[str, float]] = []
    for update, valid in sorted(log["valid"].items()):
        seconds = sum(inner["train_wall"] for at, inner in log["train_inner"].items() if at <= update)
        kept = ("loss", "ppl", "bleu")
        curve.append({"update": update, "seconds": seconds, **{key: valid[key] for key in valid if key in kept}})
    scored = sorted(run.glob(f"evaluation/{evaluation}/*.json"))
    if not scored:
        kind = "translation" if "bleu" in curve[0] else "lm"
        sys.exit(f"{run} was not scored (no evaluation/{evaluation}); run scripts/evaluate_{kind}.sh {run}")
    return {
        "name": run.parent.name,
        "seed": run.name.removeprefix("seed"),
        "versions": (run / "versions.txt").read_text().splitlines(),
        "best": max(curve, key=lambda point: point.get("bleu", -point["loss"])),
        "tests": {path.stem: json.loads(path.read_text()) for path in scored},
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
    return markdown_table.table(rows)


def plot(runs: list[dict[str, Any]], path: Path) -> None:
    """Draw validation loss, and BLEU or perplexity, by update and by training time (as in the paper's figure 2)."""
    score = ("bleu", "validation BLEU") if "bleu" in runs[0]["curve"][0] else ("ppl", "validation perplexity")
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), layout="constrained")
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
    axes[0][0].legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = arguments.Parser(__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--evaluation", default="best", metavar="NAME")
    args = parser.parse_args()
    for run in args.runs:
        if not (run / "train.log").exists():
            sys.exit(f"{run}: no run folder of scripts/train.sh (it has no train.log)")
    runs = [read_run(run, args.evaluation) for run in args.runs]
    if len({run.resolve().parent.parent for run in args.runs}) > 1:  # several recipes: baseline is not one name
        for path, run in zip(args.runs, runs, strict=True):
            run["name"] = f"{path.resolve().parent.parent.name}/{run['name']}"
    for path, run in zip(args.runs, runs, strict=True):
        if differing := sorted(columns(run).keys() ^ columns(runs[0]).keys()):
            sys.exit(f"{path} and {args.runs[0]} were scored otherwise: {', '.join(differing)} is only in one of them")
    args.out.mkdir(parents=True, exist_ok=True)
    text = table(runs)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    (args.out / "runs.json").write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    plot(runs, args.out / "curves.png")
    sys.stdout.write(text)


if __name__ == "__main__":
    arguments.run(main)
