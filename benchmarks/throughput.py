"""Measure the words per second of a real training run, and where its time goes.

python benchmarks/throughput.py [CONFIG] [--updates N] [--out DIR] [key=value ...]

CONFIG is a config whose data is prepared (default: configs/demo/rdrop.yaml); key=value is as for scripts/train.sh.
fairseq's own training runs with a clock around its parts and with malloc as train.sh sets it. Time in one part that
another one calls counts for the inner part alone. There is no validation unless the values ask for it.
"""

import functools
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fairseq.criterions import FairseqCriterion
from fairseq.dataclass.initialize import hydra_init
from fairseq.optim import FairseqOptimizer
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer
from hydra import compose, initialize_config_dir
from measure import DEVICE, ROOT, TRAIN_SH, Facts, ask, say, synchronize, write
from ratios import draw_bars
from recipes import cli
from recipes.table import markdown_table
from recipes.training.new_run import check_data, make_folder, run_config
from recipes.training.run_folder import RunFolder

from rdrop_fairseq.criterions import rdrop_criterion
from rdrop_fairseq.criterions.rdrop_token_criterion import RDropTokenCriterion

WARM_UP = 5  # updates that are not counted


class Clock:
    """Seconds of the functions under watch, each without those of the functions under watch that it calls."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.updates = self.tokens = 0
        self.seconds: dict[str, float] = defaultdict(float)
        self.since = 0.0

    def tick(self) -> None:
        """Count the time since the last tick for what is running."""
        synchronize()
        now = time.perf_counter()
        if self.running and self.updates > WARM_UP:
            self.seconds[self.running[-1]] += now - self.since
        self.since = now

    def watch(self, owner: Any, name: str, part: str) -> Any:
        """Return a patch of a function whose calls are counted as a part of the training."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            self.running.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.tick()
                self.running.pop()

        return patch.object(owner, name, watched)

    def count(self) -> Any:
        """Return a patch that counts the updates, and the target words of one copy."""
        train_step = FairseqTask.train_step

        def counted(task: Any, sample: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            self.updates += 1
            self.tokens += sample["ntokens"] * (self.updates > WARM_UP)
            return train_step(task, sample, *args, **kwargs)

        return patch.object(FairseqTask, "train_step", counted)


def train(config: Path, values: list[str]) -> Facts:
    """Train, and return the number of updates, their target words, and the seconds of each part."""
    from fairseq_cli import hydra_train, train  # here, because this import makes all libraries log to stdout

    clock = Clock()
    parts = [
        clock.watch(train, "train", "fetching batches, the loop"),
        clock.watch(train, "validate_and_save", "validation, checkpoints"),
        clock.watch(Trainer, "train_step", "the trainer's own"),
        clock.watch(Trainer, "_reduce_and_log_stats", "logging"),
        clock.watch(Trainer, "_prepare_sample", "batch to the device"),
        clock.watch(Trainer, "clip_grad_norm", "gradient norm"),
        clock.watch(FairseqCriterion, "__call__", "criterion, forward"),
        clock.watch(rdrop_criterion, "repeat_batch", "repeating the batch"),
        clock.watch(rdrop_criterion, "forward_passes", "model, forward"),
        clock.watch(RDropTokenCriterion, "fused_loss", "fused loss: forward, and the head's backward"),
        clock.watch(FairseqOptimizer, "backward", "backward"),
        clock.watch(FairseqTask, "optimizer_step", "optimizer"),
        clock.count(),
    ]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as patches:
        run = RunFolder(Path(folder))
        cfg = run_config(config, run, 1, values)
        cfg.checkpoint.no_save = True  # here, because a run of train.sh cannot go without its checkpoints
        check_data(cfg, config)
        make_folder(cfg, run)
        hydra_init("train")
        with initialize_config_dir(folder, version_base=None):
            whole = compose("train", [f"task.data={ROOT / cfg.task.data}", f"common.user_dir={ROOT / 'rdrop_fairseq'}"])
        for part in parts:
            patches.enter_context(part)
        hydra_train._hydra_main(whole)
    return {"updates": clock.updates - WARM_UP, "tokens": int(clock.tokens), "seconds": clock.seconds}


def draw(facts: Facts) -> Any:
    """Return the figure of a result."""
    parts = dict(sorted(facts["seconds"].items(), key=lambda item: -item[1]))
    shares = {"": [100 * spent / sum(parts.values()) for spent in parts.values()]}
    return draw_bars(shares, list(parts), "percent of the time", "%.1f", 3.5)


def main() -> None:
    """Train, and write the table."""
    parser = cli.Parser(__doc__)
    parser.add_argument("config", nargs="?", default="configs/demo/rdrop.yaml", help="a config, its data prepared")
    parser.add_argument("values", nargs="*", metavar="key=value", help="other values for the config")
    parser.add_argument("--updates", type=cli.positive, default=100, help="updates that are timed (default: 100)")
    parser.add_argument("--out", type=Path, default=Path("results/performance"), help="folder of the results")
    args = parser.parse_intermixed_args()  # values may follow options
    say(f"Training {args.config} for {args.updates} updates after {WARM_UP} to warm up")
    limit = f"optimization.max_update={args.updates + WARM_UP}"
    values = [limit, "dataset.disable_validation=true", *args.values]
    found = ask(TRAIN_SH, train, Path(args.config), values)
    seconds, updates, tokens = found["seconds"], found["updates"], found["tokens"]
    total = sum(seconds.values())
    rows = [["part", "milliseconds an update", "share"]]
    for part, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        rows.append([part, f"{1000 * spent / updates:,.2f}", f"{100 * spent / total:.1f}%"])
    text = (
        f"{' '.join([args.config, *args.values])}: {tokens / total:,.0f} target words a second (of one copy), "
        f"{updates} updates of {tokens / updates:,.0f} words, {1000 * total / updates:,.1f} ms each.\n\n"
        f"{markdown_table(rows)}"
    )
    facts = {"config": args.config, "values": args.values, "words_per_second": tokens / total, "updates": updates}
    name = f"throughput_{DEVICE}_{'_'.join(Path(args.config).with_suffix('').parts[-2:])}"
    write(args.out, name, text, {**facts, "seconds": seconds}, draw)


if __name__ == "__main__":
    main()
