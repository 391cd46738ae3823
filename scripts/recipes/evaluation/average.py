"""Average the parameters of several checkpoints of one run: the command scripts/average_checkpoints.py."""

import os
import re
import sys
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from omegaconf import OmegaConf

from recipes import cli
from recipes.evaluation.safe_checkpoint import failure_in_one_line
from recipes.files import whole_file
from recipes.quiet import quiet

# The ways in which fairseq saves checkpoints: file names, words for messages, and the setting for how many it keeps.
SAVED = {
    "update": (r"checkpoint_\d+_(\d+)\.pt", "saved by update", "keep_interval_updates"),
    "epoch": (r"checkpoint(\d+)\.pt", "saved by epoch", "keep_last_epochs"),
    "best": (r"checkpoint\.best_.+_(-?\d+\.\d+)\.pt", "best on validation", "keep_best_checkpoints"),
}
AVERAGE_OF = "average_of"  # an average lists its checkpoints under this name in its extra_state; so it is recognised


def checkpoint_utils() -> ModuleType:
    """Return fairseq's functions for checkpoints. After that PyTorch loads checkpoints of fairseq."""
    with quiet():  # it is imported here, because that takes seconds and logs much
        from fairseq import checkpoint_utils

        import rdrop_fairseq  # noqa: F401  (when fairseq is imported, it tells PyTorch what checkpoints may hold)
    return checkpoint_utils


def choose(folder: Path, count: int, kind: str | None) -> list[Path]:
    """Return the last `count` checkpoints that were saved by "update" or by "epoch", or the "best" ones.

    Without a kind, take those saved by update, or those saved by epoch if there are no others. fairseq puts the value
    of the run's metric into the name of a best checkpoint, as in checkpoint.best_bleu_37.2512.pt. The last two digits
    are random, so that equal values get different names. Exit if there are fewer checkpoints.
    """
    if not folder.is_dir():
        sys.exit(f"there is no folder {folder}")
    utils = checkpoint_utils()
    found = {name: utils.checkpoint_paths(str(folder), pattern) for name, (pattern, _, _) in SAVED.items()}
    kind = kind or ("epoch" if found["epoch"] and not found["update"] else "update")
    paths = [Path(path) for path in found[kind]]  # the highest number first
    if len(paths) < count:
        _, what, limit = SAVED[kind]
        keeps = f"checkpoint.{limit} says how many a run keeps"
        sys.exit(f"{folder} holds {len(paths)} checkpoints {what}, not {count}; {keeps}")
    if kind == "best":
        maximize = OmegaConf.select(load(paths[0])["cfg"], "checkpoint.maximize_best_checkpoint_metric")
        if not isinstance(maximize, bool):
            sys.exit(f"{paths[0]} does not say whether a high or a low value of its metric is good")
        if not maximize:
            paths.reverse()
    return paths[:count]


def load(path: Path) -> dict[str, Any]:
    """Return a checkpoint of fairseq. Exit if the file is cut short, is something else, or is unsafe to load."""
    if not zipfile.is_zipfile(path):
        sys.exit(f"{path} is cut short, or no checkpoint")
    utils = checkpoint_utils()
    try:
        state = utils.load_checkpoint_to_cpu(str(path))
        model, extra = state["model"], state["extra_state"]
    except Exception as error:  # PyTorch, pickle and fairseq raise many kinds if the content is not what they expect
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        sys.exit(f"{path} cannot be loaded as a checkpoint of fairseq: {what}")
    tensors = isinstance(model, dict) and all(isinstance(value, torch.Tensor) for value in model.values())
    if not (tensors and model and isinstance(extra, dict)):
        sys.exit(f"{path} is no checkpoint of fairseq: it holds no model")
    return state


def average(paths: list[Path]) -> dict[str, Any]:
    """Return the first checkpoint with the mean of the parameters of all of them, and without optimizer state.

    The mean is computed in float64 and stored in the type of the parameter, or in float32 if that is in half precision.
    Parameters that share one tensor in the first checkpoint, as tied embeddings do, share one in the result. Exit if
    the checkpoints do not hold the same parameters.
    """
    result = load(paths[0])
    result.pop("last_optimizer_state", None)
    result["extra_state"][AVERAGE_OF] = [path.name for path in paths]
    model = result["model"]
    places = {name: (value.data_ptr(), value.shape, value.stride()) for name, value in model.items()}
    sums = {name: value.double() for name, value in model.items() if value.is_floating_point()}
    for path in paths[1:]:
        other = load(path)["model"]
        shapes, others = ({(name, value.shape) for name, value in of.items()} for of in (model, other))
        if shapes != others:
            sys.exit(f"{path} and {paths[0]} hold different models: they differ in {min(shapes ^ others)[0]}")
        for name, value in sums.items():
            value += other[name].double()
    tied: dict[object, torch.Tensor] = {}
    for name, value in sums.items():
        mean = value.div_(len(paths)).to(model[name].dtype if model[name].itemsize > 2 else torch.float32)
        first = tied.setdefault(places[name], mean)
        model[name] = first if torch.equal(first, mean) else mean  # they may be tied in the first checkpoint alone
    return result


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint file, whole or not at all."""
    # torch.save would write the name of the temporary file into the checkpoint if it were given a path.
    with failure_in_one_line(f"writing {path}"), whole_file(path) as part, part.open("wb") as file:
        torch.save(checkpoint, file)


def main(arguments: Sequence[str]) -> None:
    """Run the command average_checkpoints.py."""
    parser = cli.Parser()
    parser.add_argument("checkpoints", type=Path, metavar="CHECKPOINTS")
    parser.add_argument("out", type=Path, metavar="OUT")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--last", type=cli.positive, metavar="N")
    which.add_argument("--best", type=cli.positive, metavar="N")
    parser.add_argument("--by", choices=["update", "epoch"])
    args = parser.parse_args(arguments)
    if args.best and args.by:
        parser.error("--by goes with --last")
    out = Path(os.path.realpath(args.out))  # if OUT is a link, the file that it points to is replaced
    replaced = None
    if out.is_file():
        checkpoint_utils()
        with suppress(Exception):  # the file may be anything
            replaced = torch.load(out, map_location="cpu", mmap=True, weights_only=True)["extra_state"][AVERAGE_OF]
    if out.exists() and not replaced:
        sys.exit(f"{out} exists and is no average that this tool made: choose another OUT")
    names = "|".join([r"checkpoint_(best|last)\.pt", *(pattern for pattern, _, _ in SAVED.values())])
    beside = args.checkpoints.is_dir() and out.parent.is_dir() and out.parent.samefile(args.checkpoints)
    if beside and re.fullmatch(names, out.name):
        sys.exit(f"{out} would be taken for a checkpoint that the run saved: choose another OUT")
    paths = choose(args.checkpoints, args.best or args.last, "best" if args.best else args.by)
    save(average(paths), out)
    print(f"{args.out} is the average of {', '.join(path.name for path in paths)}")
