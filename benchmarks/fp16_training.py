"""Train the first updates of a recipe in half precision: the baseline, and R-Drop by the fused and by the plain loss.

python benchmarks/fp16_training.py --data BIN [--config FOLDER] [--updates N] [--out DIR] [key=value ...]

It prints for each the loss, how often a gradient overflowed, the loss scale and the speed, and writes them to
DIR/fp16_training.md and .json. BIN is binarized text of the languages that the configs FOLDER/baseline.yaml and
FOLDER/rdrop.yaml name. Settings key=value go to scripts/train.sh.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median_high

from measure import ROOT, Facts, say, write
from recipes import cli
from recipes.table import markdown_table

RUNS = {
    "baseline": ("baseline", []),
    "R-Drop, fused": ("rdrop", ["criterion.rdrop_loss=fused"]),
    "R-Drop, plain": ("rdrop", ["criterion.rdrop_loss=plain"]),
}


def train(config: Path, run: Path, settings: list[str]) -> Facts:
    """Train, and return the exit status, the updates that were logged, in full, and the number of overflows."""
    command = [str(ROOT / "scripts/train.sh"), str(config), "--out", str(run), *settings]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        say(done.stdout[-3000:])
    log = (run / "train.log").read_text(encoding="utf-8") if (run / "train.log").exists() else ""
    logged = [json.loads(text) for text in re.findall(r"\[train_inner\]\[INFO\] - (\{.*\})$", log, re.MULTILINE)]
    return {"status": done.returncode, "overflows": log.count("gradient overflow detected"), "updates": logged}


def row(name: str, found: Facts) -> list[str]:
    """Return the row of the table for a run."""
    if not found["updates"]:
        return [name, f"ended with status {found['status']}", *[""] * 4]
    first, last = found["updates"][0], found["updates"][-1]
    losses = [f"{each.get('nll_loss', each['loss'])} at update {each['num_updates']}" for each in (first, last)]
    speed = median_high(float(update["ups"]) for update in found["updates"][1:] or [last])
    return [name, *losses, str(found["overflows"]), str(last.get("loss_scale", "none")), f"{speed:g}"]


def main() -> None:
    """Train, and write the tables."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="BIN")
    parser.add_argument("--config", type=Path, default=ROOT / "configs/iwslt14_deen", metavar="FOLDER")
    parser.add_argument("--updates", type=cli.positive, default=100, metavar="N")
    parser.add_argument("--out", type=Path, default=Path("results/performance"), metavar="DIR")
    parser.add_argument("settings", nargs="*", metavar="key=value")
    args = parser.parse_intermixed_args()
    fixed = [f"task.data={args.data.resolve()}", f"optimization.max_update={args.updates}", "common.log_interval=10"]
    fixed += ["dataset.disable_validation=true", "checkpoint.save_interval_updates=0"]
    found: dict[str, Facts] = {}
    with tempfile.TemporaryDirectory(prefix="fp16_training_") as folder:
        for name, (config, settings) in RUNS.items():
            say(f"{name}: {args.updates} updates of {args.config.name}")
            run = Path(folder, name.replace(", ", "_"))
            found[name] = train(args.config / f"{config}.yaml", run, [*fixed, *settings, *args.settings])
    head = ["", "nll_loss (bits) at first", "at the end", "overflows", "loss scale", "updates a second, median"]
    table = markdown_table([head, *(row(name, each) for name, each in found.items())])
    write(args.out, "fp16_training", table, {"runs": found})
    if any(each["status"] for each in found.values()):
        sys.exit("a training failed")


if __name__ == "__main__":
    main()
