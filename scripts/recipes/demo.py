"""Train a baseline and R-Drop on the demo's data, score both and compare: the command scripts/demo.sh."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import NoReturn

from recipes import children, cli
from recipes.cli import ROOT
from recipes.files import read_lines
from recipes.training import launch
from recipes.training.job import JobOptions
from recipes.training.new_run import name_of
from recipes.training.run_folder import RunFolder

DATA = ROOT / "data/demo"
CONFIGS = {name: ROOT / f"configs/demo/{name}.yaml" for name in ("baseline", "rdrop")}
SENTENCE = "Die Lampe soll jetzt gebaut werden."
SENTENCES = 5  # of the test set that are printed with their translations
INTERVAL = 10  # seconds between two lines of progress
FORK = multiprocessing.get_context("fork")


class Training:
    """A training in a process of its own, which ends with this one."""

    def __init__(self, config: Path, run: RunFolder, seed: int) -> None:
        self.run = run
        self.said = FORK.SimpleQueue()
        self.process = FORK.Process(target=_train, args=(config, run, seed, os.getpid(), self.said.put), daemon=True)
        with children.interrupts_wait():
            self.process.start()

    def is_running(self) -> bool:
        """Return whether the training goes on. Exit with the reason if it has failed."""
        running = self.process.is_alive()
        if not self.said.empty():
            sys.exit(self.said.get())
        if self.process.exitcode:
            sys.exit(f"the training of {self.run} ended with status {self.process.exitcode}")
        return running

    def progress(self) -> str:
        """Return what the log says last, such as "update 250, validation BLEU 21.3"."""
        log = self.run.log.read_text(encoding="utf-8", errors="replace") if self.run.log.exists() else ""
        update, bleu = (re.findall(rf'"{key}": "([\d.]+)"', log)[-1:] for key in ("num_updates", "valid_bleu"))
        return f"update {''.join(update)}, validation BLEU {''.join(bleu)}"


def _train(config: Path, run: RunFolder, seed: int, parent: int, say: Callable[[str], None]) -> None:
    """Train in this process. What train.sh would say of a failure goes to `say`; it prints nothing else."""
    launch.handle_signals()
    children.end_with(parent)
    with open(os.devnull, "w", encoding="utf-8") as nothing, redirect_stdout(nothing):
        try:
            launch.train(config, run, seed, [], JobOptions())
        except (SystemExit, OSError) as problem:
            say(str(problem))


def train(runs: dict[str, RunFolder], seed: int) -> None:
    """Train all runs at once, and print how far they are. If one fails, exit with the reason, and so end the others."""
    trainings = {name: Training(CONFIGS[name], run, seed) for name, run in runs.items()}
    told = time.monotonic()
    while sum(training.is_running() for training in trainings.values()):  # ask all of them, which any() does not
        if time.monotonic() > told + INTERVAL:
            told = time.monotonic()
            print("   ".join(f"{name}: {training.progress()}" for name, training in trainings.items()), flush=True)
        time.sleep(0.2)


def run_script(name: str, *arguments: str) -> None:
    """Run a script of this folder in the repository. Exit with its status if it fails; it says why itself."""
    with subprocess.Popen([str(ROOT / "scripts" / name), *arguments], cwd=ROOT) as process:
        try:
            if process.wait():
                sys.exit(process.returncode)
        finally:
            process.terminate()  # which does nothing if it has ended


def print_translations(runs: dict[str, RunFolder]) -> None:
    """Print the first sentences of the test set, their references, and what each run makes of them."""
    texts = {"source": DATA / "raw/test.de", "reference": DATA / "raw/test.en"}
    texts |= {name: run.evaluation("best") / "test.txt" for name, run in runs.items()}
    print("== Translations of the first test sentences")
    for lines in list(zip(*map(read_lines, texts.values()), strict=True))[:SENTENCES]:
        print()
        for name, line in zip(texts, lines, strict=True):
            print(f"{name:10} {line}")


def own_sentence(run: RunFolder) -> str:
    """Return the command that translates a sentence; it is one that the demo's text does not hold."""
    return f'echo "{SENTENCE}" | scripts/translate.sh {name_of(run)}'


def stop(*_: object) -> NoReturn:
    """End because of a signal. The trainings end too, because they are daemons of this process."""
    cli.refuse("interrupted; the same command goes on where it was", 130)


def main(arguments: Sequence[str]) -> None:
    """Run the command demo.sh."""
    parser = cli.Parser()
    parser.add_argument("--seed", type=cli.natural, default=1)
    seed = parser.parse_args(arguments).seed
    for number in launch.SIGNALS:
        signal.signal(number, stop)
    # Both trainings run at once, each with half of the cores.
    os.environ.setdefault("OMP_NUM_THREADS", str((cli.cores() + 1) // len(CONFIGS)))
    runs = {name: launch.default_folder(config, seed) for name, config in CONFIGS.items()}

    run_script("prepare_demo.sh")
    train(runs, seed)
    for name, run in runs.items():
        print(f"== {name}", flush=True)
        run_script("evaluate_translation.sh", name_of(run))
    print_translations(runs)
    print(flush=True)
    report = f"runs/demo/report{seed}"
    run_script("report.py", "--out", report, *map(name_of, runs.values()))
    print(f"\nThe curves are in {report}/curves.png. Remove runs/demo to run the demo again.")
    print("\nTo translate a sentence of your own, with words of the demo's text:")
    print(f"    {own_sentence(runs['rdrop'])}")
