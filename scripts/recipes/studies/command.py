"""Run a study, and write its table and its figure: the command scripts/study.sh."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recipes import cli
from recipes.cli import ROOT
from recipes.files import write_whole
from recipes.studies import at_once
from recipes.studies.conditions import note_on_times
from recipes.studies.figures import draw
from recipes.studies.outcome import Result, compare, note_on_tests, read_results, table_of_scores, table_of_times
from recipes.studies.plan import Training, plan
from recipes.studies.recorded import read_recorded, still_to_train
from recipes.studies.study import Study, find_study
from recipes.training.settings import setting


def seeds(text: str) -> list[int]:
    """Return the seeds that a text like 1,2,3 says."""
    return cli.list_of(cli.natural)(text)


def seeds_of(text: str) -> tuple[str, list[int]]:
    """Return the entry and its seeds that a text like baseline=1,2,3 says."""
    name, sign, numbers = text.partition("=")
    if not (name and sign):
        raise argparse.ArgumentTypeError(f"must be ENTRY=SEED,SEED,..., not '{text}'")
    return name, seeds(numbers)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of study.sh."""
    parser = cli.Parser()
    parser.add_argument("study", metavar="NAME")
    parser.add_argument("config", type=Path, metavar="CONFIG")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--entries", type=cli.list_of(str), default=[], metavar="ENTRY,...")
    parser.add_argument("--seeds", type=seeds, default=[1, 2, 3])
    parser.add_argument("--seeds-of", type=seeds_of, action="append", default=[], metavar="ENTRY=SEEDS")
    parser.add_argument("--jobs", type=cli.positive)
    parser.add_argument("--runs", type=cli.a_path)
    parser.add_argument("--out", type=cli.a_path)
    parser.add_argument("--with", dest="recorded", type=cli.a_path, action="append", default=[], metavar="FILE")
    args = parser.parse_intermixed_args(arguments)
    args.typed = shlex.join(arguments)
    for word in args.overrides:
        if "=" not in word:
            parser.error(f"{word} is no key=value")
    if not args.config.is_file():
        sys.exit(f"there is no config {args.config}")
    return args


def seeds_by_entry(study: Study, args: argparse.Namespace) -> dict[str, list[int]]:
    """Return the seeds of each entry. Exit if an option names an entry that the study does not have.

    An entry that --entries leaves out has none. The baseline, and a run from which a chosen one starts, stay.
    """
    for option, names in (("--seeds-of", dict(args.seeds_of)), ("--entries", args.entries)):
        for name in names:
            if name not in study.entries:
                sys.exit(f"{option} {name}: the study has no such entry; it has {' '.join(study.entries)}")
    names = args.entries or list(study.entries)
    needed = {study.baseline, *names, *(study.entries[name].start for name in names)}
    seeds = dict.fromkeys(study.entries, args.seeds) | dict(args.seeds_of)
    return {name: of if name in needed else [] for name, of in seeds.items()}


def place_of(config: Path) -> Path:
    """Return where the runs and the results of a config are, below the folders of all studies.

    It is the name of the config's folder. In a folder without a baseline each config is that of another data set, and
    its own name is added.
    """
    folder = Path(config.parent.name)
    return folder if config.with_name("baseline.yaml").exists() else folder / config.stem


def near(path: Path) -> Path:
    """Return a path under the repository as one from the working directory, if it is below that."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main(arguments: Sequence[str]) -> None:
    """Run the command study.sh."""
    args = parse(arguments)
    study = find_study(args.study)
    data = place_of(args.config.resolve())
    out = args.out or near(ROOT / "results/studies" / data / study.name)
    chosen = seeds_by_entry(study, args)
    runs = args.runs or near(ROOT / "runs/studies" / data)
    recorded = {
        (entry, seed): result
        for (entry, seed), result in read_recorded(args.recorded, study, args.config, args.overrides).items()
        if chosen[entry] and not (runs / entry / f"seed{seed}").exists()
    }
    trainings = plan(study, args.config, still_to_train(study, chosen, recorded), args.overrides, runs)
    failed = train(study, trainings, args.jobs) if trainings else {}
    found = read_results([training for training in trainings if training not in failed], failed)
    order = list(study.entries)
    results = (recorded | {(result.entry, result.seed): result for result in found}).values()
    report(study, args, sorted(results, key=lambda run: (run.seed, order.index(run.entry))), failed, out)
    at_once.refuse_failed(trainings, failed)


def train(study: Study, trainings: Sequence[Training], jobs: int | None) -> dict[Training, str]:
    """Train and score the runs, and print how far they are. Return why those failed that did."""
    cpu = any(setting(training.recipe, "common.cpu") for training in trainings)
    slots = at_once.slots_of(jobs, cpu)[: len(trainings)]
    where = "on the CPU" if slots[0] is None else f"on GPU {', '.join(dict.fromkeys(map(str, slots)))}"
    if slots[0] is None and any(setting(training.recipe, "common.fp16") for training in trainings):
        sys.exit("common.fp16 needs a GPU, and none is used: add common.fp16=false common.cpu=true")
    print(f"{study.title}: {len(trainings)} runs, {len(slots)} at once {where}", flush=True)
    return at_once.run_all(trainings, slots, lambda line: print(line, flush=True))


def report(
    study: Study, args: argparse.Namespace, results: list[Result], failed: dict[Training, str], out: Path
) -> None:
    """Write table.md, study.json and figure.png of the finished runs to a folder, and print the tables."""
    compared = compare(study, results)
    text = f"# {study.title}\n\nWritten by `scripts/study.sh {args.typed}`.\n\n{table_of_scores(study, compared)}"
    text += f"\n{note_on_tests(study, compared)}"
    if failed:
        text += f"- Failed, and so left out: {', '.join(map(str, failed))}.\n"
    if study.equal_time or study.reach:
        note = note_on_times([result.trained for result in results])
        text += f"\n## Time\n\n{table_of_times(study, results)}\n{note}"
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "study": study.name,
        "title": study.title,
        "config": str(args.config),
        "overrides": args.overrides,
        "with": list(map(str, args.recorded)),
        "baseline": study.baseline,
        "compared": compared,
        "runs": [
            {
                "entry": result.entry,
                "seed": result.seed,
                "overrides": result.overrides,
                "scores": result.scores,
                "best": result.best,
                "tests": result.tests,
                "versions": result.versions,
                "conditions": [part and asdict(part) for part in result.conditions],
                "curve": result.curve,
            }
            for result in results
        ],
        "failed": {str(training): problem for training, problem in failed.items()},
    }
    write_whole(out / "table.md", text)
    write_whole(out / "study.json", json.dumps(found, indent=1) + "\n")
    sys.stdout.write(text)
    drawn = draw(study, results, out / "figure.png")
    print(f"\nThe tables{' and the figure' if drawn else ''} are in {out}", flush=True)
