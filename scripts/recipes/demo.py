"""Train a baseline and R-Drop on the demo's data, score both and compare: the command scripts/demo.sh."""

import subprocess
import sys
from collections.abc import Sequence

from recipes import cli
from recipes.cli import ROOT
from recipes.files import read_lines
from recipes.studies import at_once
from recipes.studies.plan import plan
from recipes.studies.study import find_study
from recipes.training.new_run import name_of
from recipes.training.run_folder import RunFolder

DATA = ROOT / "data/demo"
CONFIG = ROOT / "configs/demo/rdrop.yaml"
STUDY = "rdrop_against_baseline"
SENTENCE = "Die Lampe soll jetzt gebaut werden."  # not in the demo's text, but its words are
INTERVAL = 10  # seconds between two lines of progress
SENTENCES = 5  # of the test set that are printed with their translations


def train(seed: int) -> dict[str, RunFolder]:
    """Train and score both runs at once, and return them by their names. Exit with the reasons if runs fail."""
    study = find_study(STUDY)
    trainings = plan(study, CONFIG, {name: [seed] for name in study.entries}, [], ROOT / "runs/demo")
    slots = at_once.slots_of(len(trainings), cpu=False)
    at_once.refuse_failed(trainings, at_once.run_all(trainings, slots, lambda line: print(line, flush=True), INTERVAL))
    return {training.entry.name: training.run for training in trainings}


def run_script(name: str, *arguments: str) -> None:
    """Run a script of this folder in the repository. Exit with its status if it fails; it says why itself."""
    with subprocess.Popen([str(ROOT / "scripts" / name), *arguments], cwd=ROOT) as process:
        try:
            if process.wait():
                sys.exit(process.returncode)
        finally:
            process.terminate()  # which does nothing if it has ended
            process.wait()  # at ^C `with` does not


def print_translations(runs: dict[str, RunFolder]) -> None:
    """Print the first sentences of the test set, their references, and what each run makes of them."""
    texts = {"source": DATA / "raw/test.de", "reference": DATA / "raw/test.en"}
    texts |= {name: run.evaluation("best") / "test.txt" for name, run in runs.items()}
    print("== Translations of the first test sentences")
    for lines in list(zip(*map(read_lines, texts.values()), strict=True))[:SENTENCES]:
        print()
        for name, line in zip(texts, lines, strict=True):
            print(f"{name:10} {line}")


def main(arguments: Sequence[str]) -> None:
    """Run the command demo.sh."""
    parser = cli.Parser()
    parser.add_argument("--seed", type=cli.natural, default=1)
    seed = parser.parse_args(arguments).seed
    cli.if_interrupted(at_once.AGAIN)
    run_script("prepare_demo.sh")
    runs = train(seed)
    print_translations(runs)
    print(flush=True)
    report = f"runs/demo/report{seed}"
    run_script("report.py", "--out", report, *map(name_of, runs.values()))
    print(f"\nThe curves are in {report}/curves.png. Remove runs/demo to run the demo again.")
    print("\nTo translate a sentence of your own, with words of the demo's text:")
    print(f'    echo "{SENTENCE}" | scripts/translate.sh {name_of(runs["rdrop"])}')
