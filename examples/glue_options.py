"""The options of trainer_glue.py, and the settings of a task of GLUE, which configs/glue has."""

import argparse
import math
from ast import literal_eval
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = {path.stem: path for path in sorted((ROOT / "configs/glue").glob("*.yaml"))}


def number(kind: type, least: float, limit: float = math.inf) -> Callable[[str], Any]:
    """Return what reads a number of an option, at least `least` and below the limit."""

    def read(text: str) -> Any:
        value = kind(text)
        if not least <= value < limit:
            below = f" and < {limit}" if limit < math.inf else ""
            raise argparse.ArgumentTypeError(f"{text} must be a number >= {least}{below}")
        return value

    read.__name__ = kind.__name__  # for the message that a text is none
    return read


def read_config(text: str) -> dict[str, Any]:
    """Return the config of a task of GLUE in configs/glue, which has the paper's settings, and its name."""
    name = text.replace("-", "").lower()
    if name not in CONFIGS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(CONFIGS)}, not '{text}'")
    return {"name": name, **yaml.safe_load(CONFIGS[name].read_text(encoding="utf-8"))}


def read_options(words: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """Return the options of a command line, or of this program's own if that is None; refuse what cannot be.

    Those that are not given, and `optimizer`, `classes` (1 for labels that are numbers), `score` and `parts` (the
    names of the inputs), are those of the task.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, usage=argparse.SUPPRESS, formatter_class=raw)
    add = parser.add_argument
    add("task", type=read_config, metavar="TASK", help="cola, mnli, mrpc, qnli, qqp, rte, sst2 or stsb, or as in SST-2")
    add("--model", required=True, help="folder of a model, or its name at Hugging Face, as bert-base-uncased")
    add("--data", type=Path, help="the folder raw that prepare_glue.sh wrote (default: data/glue_small/TASK/raw)")
    add("--out", type=Path, help="folder of the results (default: runs/trainer_glue/TASK)")
    add("--seeds", type=number(int, 0, 2**32), nargs="+", default=[1, 2, 3], help="default: 1 2 3")
    add("--length", type=number(int, 8), default=128, help="longest input, in tokens (default: %(default)s)")
    of_task = parser.add_argument_group("settings of the training (default: the task's, of configs/glue)").add_argument
    of_task("--alpha", type=number(float, 0), nargs="+", help="a training for each (default: 0, and the task's)")
    of_task("--updates", type=number(int, 1), help="length of the training")
    of_task("--warmup", type=number(int, 0), help="updates in which the learning rate rises")
    of_task("--batch", type=number(int, 1), help="rows of an update")
    of_task("--lr", type=number(float, 0), help="highest learning rate")
    args = parser.parse_args(words)
    config, name = args.task, args.task["name"]
    settings = {
        "alpha": [0.0, config["criterion"]["rdrop_alpha"]],
        "updates": config["optimization"]["max_update"],
        "warmup": config["lr_scheduler"]["warmup_updates"],
        "batch": config["dataset"]["batch_size"],
        "lr": config["optimization"]["lr"][0],
        "data": ROOT / "data/glue_small" / name / "raw",
        "out": Path("runs/trainer_glue") / name,
    }
    given = {key: value for key, value in vars(args).items() if value is not None}
    args = argparse.Namespace(**{**settings, **given, "task": name})
    adam, (beta1, beta2) = config["optimizer"], literal_eval(config["optimizer"]["adam_betas"])
    args.optimizer = {"adam_beta1": beta1, "adam_beta2": beta2, "adam_epsilon": adam["adam_eps"]}
    args.optimizer["weight_decay"] = adam["weight_decay"]
    args.classes, args.score = config["task"]["num_classes"], config["checkpoint"]["best_checkpoint_metric"]
    args.parts = ["input0", "input1"] if "separator_token" in config["task"] else ["input0"]
    args.alpha, args.seeds = list(dict.fromkeys(args.alpha)), list(dict.fromkeys(args.seeds))
    if args.warmup >= args.updates:
        parser.error(f"argument --warmup: {args.warmup} must be less than the {args.updates} updates")
    return args
