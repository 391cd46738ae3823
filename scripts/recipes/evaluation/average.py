"""Average the parameters of checkpoints of one run. See scripts/average_checkpoints.py."""

import logging
import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

from recipes import cli
from recipes.files import whole_file

logging.disable(logging.INFO)  # fairseq's import tells of optional packages
from fairseq.checkpoint_utils import checkpoint_paths, load_checkpoint_to_cpu  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402

import rdrop_fairseq  # noqa: E402, F401  (its safe globals let the checkpoints load)

# How fairseq names what it saves, and which of its options says how many it keeps.
SAVED = {
    "update": (r"checkpoint_\d+_(\d+)\.pt", "keep_interval_updates"),
    "epoch": (r"checkpoint(\d+)\.pt", "keep_last_epochs"),
    "best": (r"checkpoint\.best_.+_(-?\d+\.\d+)\.pt", "keep_best_checkpoints"),
}
AVERAGE_OF = "average_of"  # the mark of an average, in its extra_state: the names of the checkpoints


def saved(folder: Path, kind: str) -> list[Path]:
    """Return the checkpoints of a folder saved by update, by epoch, or as the best; the highest number first."""
    if not folder.is_dir():
        sys.exit(f"there is no folder {folder}")
    return [Path(path) for path in checkpoint_paths(str(folder), SAVED[kind][0])]


def first(folder: Path, kind: str, paths: list[Path], count: int) -> list[Path]:
    """Return the first `count` of the paths; exit if there are fewer."""
    if len(paths) < count:
        what = "best on validation" if kind == "best" else f"saved by {kind}"
        sys.exit(
            f"{folder} holds {len(paths)} checkpoints {what}, not {count}; "
            f"checkpoint.{SAVED[kind][1]} says how many a run keeps"
        )
    return paths[:count]


def last_checkpoints(folder: Path, count: int, by: str | None = None) -> list[Path]:
    """Return the last `count` checkpoints saved by update or by epoch, the newest first.

    Where nothing is said of `by`, those saved by update; by epoch if there are only such.
    """
    by = by or ("epoch" if saved(folder, "epoch") and not saved(folder, "update") else "update")
    return first(folder, by, saved(folder, by), count)


def best_checkpoints(folder: Path, count: int) -> list[Path]:
    """Return the `count` checkpoints with the best values of the run's metric, the best first.

    fairseq names them by the value (checkpoint.best_bleu_37.2512.pt; the last digits are random, against equal names).
    """
    paths = first(folder, "best", saved(folder, "best"), count)
    maximize = OmegaConf.select(load(paths[0])["cfg"], "checkpoint.maximize_best_checkpoint_metric")
    if not isinstance(maximize, bool):
        sys.exit(f"{paths[0]} does not say whether a high or a low value of its metric is good")
    if not maximize:
        paths = saved(folder, "best")[::-1]
    return paths[:count]


def load(path: Path) -> dict[str, Any]:
    """Return a checkpoint; exit if it is not whole, or none of fairseq's, or holds what torch does not load."""
    if not zipfile.is_zipfile(path):
        sys.exit(f"{path} is cut short, or no checkpoint")
    try:
        state = load_checkpoint_to_cpu(str(path))
        model, extra = state["model"], state["extra_state"]
    except Exception as error:  # of torch, of pickle, and whatever fairseq's look for what is not there raises
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        sys.exit(f"{path} cannot be loaded as a checkpoint of fairseq: {what}")
    tensors = isinstance(model, dict) and all(isinstance(value, torch.Tensor) for value in model.values())
    if not (tensors and model and isinstance(extra, dict)):
        sys.exit(f"{path} is no checkpoint of fairseq: it holds no model")
    return state


def average(paths: list[Path]) -> dict[str, Any]:
    """Return the first checkpoint with the mean of the parameters of all, without its optimizer's state.

    The mean is taken in float64, one checkpoint in memory at a time, and kept in the parameters' type, float16 and
    bfloat16 in float32; parameters that are one tensor in the first checkpoint (tied embeddings) are one in the result.
    Exits if the checkpoints do not hold the same parameters.
    """
    result = load(paths[0])
    result.pop("last_optimizer_state", None)
    result["extra_state"][AVERAGE_OF] = [path.name for path in paths]
    model = result["model"]
    places = {name: (value.data_ptr(), value.shape, value.stride()) for name, value in model.items()}
    sums = {name: value.double() for name, value in model.items() if value.is_floating_point()}
    for path in paths[1:]:
        other = load(path)["model"]
        differing = [name for name in {**model, **other} if _shape(model, name) != _shape(other, name)]
        if differing:
            sys.exit(f"{path} and {paths[0]} hold different models: they differ in {differing[0]}")
        for name, value in sums.items():
            value += other[name].double()
    for name, value in sums.items():
        kept = model[name].dtype if model[name].itemsize > 2 else torch.float32
        model[name] = value.div_(len(paths)).to(kept)
    tied: dict[object, torch.Tensor] = {}
    for name in sums:
        mean = tied.setdefault(places[name], model[name])
        if torch.equal(mean, model[name]):  # or it is tied in the first alone
            model[name] = mean
    return result


def _shape(model: dict[str, torch.Tensor], name: str) -> torch.Size | None:
    return model[name].shape if name in model else None


def is_average(path: Path) -> bool:
    """Whether a file is an average that this tool made."""
    try:
        return AVERAGE_OF in torch.load(path, map_location="cpu", mmap=True, weights_only=True)["extra_state"]
    except Exception:  # whatever else it is
        return False


def check_out(out: Path, folder: Path) -> None:
    """Exit unless an average may be written to `out`: it must not take the place of anything but an average.

    Nor may it be taken for a checkpoint that the run itself saved to the folder.
    """
    if out.exists() and not (out.is_file() and is_average(out)):
        sys.exit(f"{out} is there and no average that this tool made: choose another OUT")
    names = "|".join([r"checkpoint_(best|last)\.pt", *(pattern for pattern, _ in SAVED.values())])
    if re.fullmatch(names, out.name) and folder.is_dir() and out.parent.is_dir() and out.parent.samefile(folder):
        sys.exit(f"{out} would be taken for a checkpoint that the run saved: choose another OUT")


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint that is there whole or not at all."""
    try:
        with whole_file(path) as part, part.open("wb") as file:  # of a path, torch would write the name into the file
            torch.save(checkpoint, file)
    except RuntimeError as error:  # torch's writer, of a full disk
        sys.exit(f"{path} could not be written: {str(error).splitlines()[0]}")


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("checkpoints", type=Path, metavar="CHECKPOINTS")
    parser.add_argument("out", type=Path, metavar="OUT")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--last", type=cli.positive, metavar="N")
    which.add_argument("--best", type=cli.positive, metavar="N")
    parser.add_argument("--by", choices=["update", "epoch"])
    args = parser.parse_args()
    if args.best and args.by:
        parser.error("--by goes with --last")
    out = Path(os.path.realpath(args.out))  # what a link points to, not the link
    check_out(out, args.checkpoints)
    if args.best:
        paths = best_checkpoints(args.checkpoints, args.best)
    else:
        paths = last_checkpoints(args.checkpoints, args.last, args.by)
    save(average(paths), out)
    print(f"{args.out} is the average of {', '.join(path.name for path in paths)}")
