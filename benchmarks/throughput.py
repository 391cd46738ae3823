"""Words per second of a real training run, and where its time goes.

python benchmarks/throughput.py [CONFIG] [--updates N] [--out DIR] [--quick] [key=value ...]

CONFIG is one of configs/ (default: configs/demo/rdrop.yaml), its data prepared; key=value as for scripts/train.sh. Runs
fairseq's own training with a clock around its parts and with malloc as train.sh sets it; no time counts twice.
Validation is left out, unless the values ask for it.
"""

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fairseq.criterions import FairseqCriterion
from fairseq.optim import FairseqOptimizer
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer
from fairseq_cli import train as fairseq_train
from fairseq_cli.hydra_train import cli_main
from measure import ROOT, keep_pages, positive, say, synchronize, write
from recipes.table import markdown_table

from rdrop_fairseq.criterions import rdrop_criterion
from rdrop_fairseq.criterions.rdrop_token_criterion import RDropTokenCriterion
from rdrop_fairseq.tasks.rdrop_task import RDropTask

WARM_UP = 5  # updates that are not counted


class Clock:
    """Seconds of the functions under watch, each without those of the ones that it calls."""

    def __init__(self) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.stack: list[str] = []
        self.updates = self.tokens = 0
        self.seconds: dict[str, float] = defaultdict(float)
        self.since = time.perf_counter()

    def tick(self) -> None:
        """Put down the time since the last tick to what is running."""
        synchronize(self.device)
        now = time.perf_counter()
        if self.stack and self.updates > WARM_UP:
            self.seconds[self.stack[-1]] += now - self.since
        self.since = now

    def watch(self, owner: Any, name: str, part: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            self.stack.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.tick()
                self.stack.pop()

        setattr(owner, name, watched)

    def count(self, task: type) -> None:
        """Count the updates and the target words of one copy."""
        train_step = task.train_step  # type: ignore[attr-defined]

        def counted(task: Any, sample: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            self.updates += 1
            if self.updates > WARM_UP:
                self.tokens += sample["ntokens"]
            return train_step(task, sample, *args, **kwargs)

        task.train_step = counted  # type: ignore[attr-defined]


def watch_fairseq(clock: Clock) -> None:
    clock.watch(fairseq_train, "train", "fetching batches, the loop")
    clock.watch(fairseq_train, "validate_and_save", "validation, checkpoints")
    clock.watch(Trainer, "train_step", "the trainer's own")
    clock.watch(Trainer, "_reduce_and_log_stats", "logging")
    clock.watch(Trainer, "_prepare_sample", "batch to the device")
    clock.watch(Trainer, "clip_grad_norm", "gradient norm")
    clock.watch(FairseqCriterion, "__call__", "criterion, forward")
    clock.watch(rdrop_criterion, "repeat_batch", "repeating the batch")
    clock.watch(rdrop_criterion, "forward_passes", "model, forward")
    clock.watch(RDropTokenCriterion, "fused_loss", "fused loss: forward, and the head's backward")
    clock.watch(FairseqOptimizer, "backward", "backward")
    clock.watch(FairseqTask, "optimizer_step", "optimizer")
    clock.count(RDropTask)


def draw(facts: dict[str, Any], pyplot: Any) -> Any:
    parts = sorted(facts["seconds"].items(), key=lambda item: -item[1])
    total = sum(facts["seconds"].values())
    figure, axes = pyplot.subplots(figsize=(9, 3.5), layout="constrained")
    bars = axes.barh([part for part, _ in parts], [100 * spent / total for _, spent in parts])
    axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("percent of the time")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", default="configs/demo/rdrop.yaml", help="a config, its data prepared")
    parser.add_argument("values", nargs="*", metavar="key=value", help="other values for the config")
    parser.add_argument("--updates", type=positive, default=100, help="updates that are timed (default: 100)")
    parser.add_argument("--out", type=Path, default=Path("results/performance"), help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="ten updates, for trying")
    args = parser.parse_intermixed_args()  # values may follow options
    updates = 10 if args.quick else args.updates
    args.out = args.out.resolve()
    os.chdir(ROOT)  # relative paths in a config start there
    clock = Clock()
    watch_fairseq(clock)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        values = [
            f"optimization.max_update={updates + WARM_UP}",
            "checkpoint.no_save=true",
            "dataset.disable_validation=true",
            *args.values,
        ]
        make_run = [sys.executable, str(ROOT / "scripts/make_run.py"), "--seed", "1", args.config, str(run), *values]
        if subprocess.run(make_run, check=False).returncode:
            sys.exit(1)
        say(f"Training {args.config} for {updates} updates after {WARM_UP} to warm up")
        command, sys.argv = sys.argv, ["hydra_train", "--config-dir", str(run), "--config-name", "train"]
        cli_main()
        sys.argv = command

    total = sum(clock.seconds.values())
    counted = clock.updates - WARM_UP
    parts = sorted(clock.seconds.items(), key=lambda item: -item[1])
    rows = [["part", "milliseconds an update", "share"]]
    rows += [[part, f"{1000 * spent / counted:,.2f}", f"{100 * spent / total:.1f}%"] for part, spent in parts]
    speed = clock.tokens / total
    text = (
        f"{' '.join([args.config, *args.values])}: {speed:,.0f} target words a second (of one copy), "
        f"{counted} updates of {clock.tokens / counted:,.0f} words, {1000 * total / counted:,.1f} ms each.\n\n"
        f"{markdown_table(rows)}"
    )

    facts = {"config": args.config, "values": args.values, "words_per_second": speed, "updates": counted}
    name = f"throughput_{clock.device}_{'_'.join(Path(args.config).with_suffix('').parts[-2:])}"
    write(args.out, name, text, {**facts, "seconds": clock.seconds}, draw)


if __name__ == "__main__":
    keep_pages()
    main()
