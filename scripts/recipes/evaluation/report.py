"""Make a table and curves of finished runs: the command scripts/report.py."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes import cli
from recipes.evaluation.curves import best_update, plot, read_log, seconds, training_loss
from recipes.evaluation.measures import OF_SENTENCES, OF_SUMMARIES, ON_VALIDATION, TRAINING_LOSS
from recipes.evaluation.score import read_scores
from recipes.files import read_lines, write_whole
from recipes.table import markdown_table, spread
from recipes.training.run_folder import RunFolder

SCORES = {
    "BLEU": "bleu",
    "tokenized": "tokenized_bleu",
    "compound split": "compound_split_bleu",
    "chrF": "chrf",
    "perplexity": "perplexity",
    **{label: key for key, label in (OF_SENTENCES | OF_SUMMARIES).items()},
}


def read_run(run: RunFolder, evaluation: str) -> dict[str, Any]:
    """Return what runs.json says about a run, but with a whole path as its name. Exit if something is missing.

    The curve holds the validations in order. Each has "update", "seconds" of training, "loss" in bits, what the run
    measured of `ON_VALIDATION`, and if the log says it `TRAINING_LOSS`.
    """
    if not run.log.is_file():
        sys.exit(f"{run} is no run folder of scripts/train.sh: it has no train.log")
    log = read_log(run.log)
    trained, paused = seconds(log["train_inner"], log["valid"])
    if paused:
        print(f"{run}: {paused / 60:.1f} minutes in which it was paused are not counted", file=sys.stderr)
    kept = [key for key in ("loss", *ON_VALIDATION) if all(key in valid for valid in log["valid"].values())]
    if not log["valid"] or kept[0] != "loss" or not {"ppl", *OF_SENTENCES}.intersection(kept):
        sys.exit(f"{run}: its train.log holds no validation with loss and ppl")
    curve = {
        update: {"update": update, "seconds": trained[update], **{key: valid[key] for key in kept}}
        for update, valid in sorted(log["valid"].items())
    }
    for update, loss in training_loss(log["train_inner"], curve).items():
        curve[update][TRAINING_LOSS] = loss
    best = best_update(log["saved"], run.setting("checkpoint.maximize_best_checkpoint_metric", bool, False))
    if best not in curve:
        sys.exit(f"{run}: its train.log names no checkpoint that is best on validation")
    config, seed = os.path.split(os.path.abspath(run.path))
    return {
        "name": config,
        "seed": seed.removeprefix("seed"),
        "versions": read_lines(run.versions),
        "best": curve[best],
        "tests": read_scores(run, evaluation),
        "curve": list(curve.values()),
    }


def columns(run: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a run for the table, by the names of the columns."""
    numbers = {
        "updates": run["curve"][-1]["update"],
        "minutes": run["curve"][-1]["seconds"] / 60,
        "best at": run["best"]["update"],
    }
    if "ppl" in run["best"]:
        numbers["valid ppl"] = run["best"]["ppl"]
    if "bleu" in run["best"]:
        numbers["valid BLEU"] = run["best"]["bleu"]
    for name, test in run["tests"].items():
        numbers |= {f"{name} {label}": test[key] for label, key in SCORES.items() if key in test}
    return numbers


def table(runs: list[dict[str, Any]]) -> str:
    """Return a Markdown table with a row for each run, and one with mean and deviation for the seeds of a config."""
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
            rows.append(["**" + config + "**", "mean ± std", *map(spread, values)])
    return markdown_table(rows)


def main(arguments: Sequence[str]) -> None:
    """Run the command report.py."""
    parser = cli.Parser()
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--evaluation", default="best", metavar="NAME")
    args = parser.parse_args(arguments)
    cli.check_each_once(args.runs)
    folders = [RunFolder(path) for path in args.runs]
    runs = [read_run(folder, args.evaluation) for folder in folders]
    common = os.path.commonpath([os.path.dirname(run["name"]) for run in runs])
    for folder, run in zip(folders, runs, strict=True):
        if differing := sorted(columns(run).keys() ^ columns(runs[0]).keys()):
            sys.exit(f"{folder} and {folders[0]} have different scores: {', '.join(differing)} is in only one of them")
        run["name"] = os.path.relpath(run["name"], common)  # such as "iwslt/baseline"
    args.out.mkdir(parents=True, exist_ok=True)
    text = table(runs)
    write_whole(args.out / "table.md", text)
    write_whole(args.out / "runs.json", json.dumps(runs, indent=1) + "\n")
    plot(runs, args.out / "curves.png")
    sys.stdout.write(text)
