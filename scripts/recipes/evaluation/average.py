"""Average the parameters of several checkpoints of one run: the command scripts/average_checkpoints.py."""

import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from recipes import cli
from recipes.files import whole_file
from recipes.quiet import quiet

with quiet():
    from fairseq.checkpoint_utils import checkpoint_paths, load_checkpoint_to_cpu

    import rdrop_fairseq  # noqa: F401  (PyTorch loads checkpoints of fairseq only after this import)

# For each way in which fairseq saves checkpoints: the pattern of the file names, and the setting that limits how many
# are kept.
SAVED = {
    "update": (r"checkpoint_\d+_(\d+)\.pt", "keep_interval_updates"),
    "epoch": (r"checkpoint(\d+)\.pt", "keep_last_epochs"),
    "best": (r"checkpoint\.best_.+_(-?\d+\.\d+)\.pt", "keep_best_checkpoints"),
}
AVERAGE_OF = "average_of"  # an average lists its checkpoints under this name in its extra_state; so it is recognised


def saved(folder: Path, kind: str) -> list[Path]:
    """Return the checkpoints in a folder that were saved by "update", by "epoch" or as "best", highest number first."""
    if not folder.is_dir():
        sys.exit(f"there is no folder {folder}")
    return [Path(path) for path in checkpoint_paths(str(folder), SAVED[kind][0])]


def first(folder: Path, kind: str, paths: list[Path], count: int) -> list[Path]:
    """Return the first `count` paths. Exit if there are fewer."""
    if len(paths) < count:
        what = "best on validation" if kind == "best" else f"saved by {kind}"
        sys.exit(
            f"{folder} holds {len(paths)} checkpoints {what}, not {count}; "
            f"checkpoint.{SAVED[kind][1]} says how many a run keeps"
        )
    return paths[:count]


def last_checkpoints(folder: Path, count: int, by: str | None = None) -> list[Path]:
    """Return the last `count` checkpoints that were saved by "update" or by "epoch", the newest first.

    By default, take those saved by update; take those saved by epoch if there are no others.
    """
    by = by or ("epoch" if saved(folder, "epoch") and not saved(folder, "update") else "update")
    return first(folder, by, saved(folder, by), count)


def best_checkpoints(folder: Path, count: int) -> list[Path]:
    """Return the `count` checkpoints with the best values of the run's metric, the best first.

    fairseq puts the value into the name, as in checkpoint.best_bleu_37.2512.pt. The last two digits are random, so that
    equal values get different names.
    """
    paths = first(folder, "best", saved(folder, "best"), count)
    maximize = OmegaConf.select(load(paths[0])["cfg"], "checkpoint.maximize_best_checkpoint_metric")
    if not isinstance(maximize, bool):
        sys.exit(f"{paths[0]} does not say whether a high or a low value of its metric is good")
    if not maximize:
        paths = saved(folder, "best")[::-1]
    return paths[:count]


def load(path: Path) -> dict[str, Any]:
    """Return a checkpoint of fairseq. Exit if the file is cut short, is something else, or is unsafe to load."""
    if not zipfile.is_zipfile(path):
        sys.exit(f"{path} is cut short, or no checkpoint")
    try:
        state = load_checkpoint_to_cpu(str(path))
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

    The mean is computed in float64, with one checkpoint at a time in memory. It is stored in the type of the parameter,
    or in float32 if the parameter is in half precision. Parameters that share one tensor in the first checkpoint, as
    tied embeddings do, share one in the result. Exit if the checkpoints do not hold the same parameters.
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
        if torch.equal(mean, model[name]):  # they differ if the tensors are tied in the first checkpoint alone
            model[name] = mean
    return result


def _shape(model: dict[str, torch.Tensor], name: str) -> torch.Size | None:
    return model[name].shape if name in model else None


def is_average(path: Path) -> bool:
    """Return whether a file is an average that this module made."""
    try:
        return AVERAGE_OF in torch.load(path, map_location="cpu", mmap=True, weights_only=True)["extra_state"]
    except Exception:  # the file may be anything
        return False


def check_out(out: Path, folder: Path) -> None:
    """Exit unless an average may be written to `out`.

    An average replaces no file but an average. In the checkpoint folder it must not have a name that fairseq gives to
    its own checkpoints.
    """
    if out.exists() and not (out.is_file() and is_average(out)):
        sys.exit(f"{out} exists and is no average that this tool made: choose another OUT")
    names = "|".join([r"checkpoint_(best|last)\.pt", *(pattern for pattern, _ in SAVED.values())])
    if re.fullmatch(names, out.name) and folder.is_dir() and out.parent.is_dir() and out.parent.samefile(folder):
        sys.exit(f"{out} would be taken for a checkpoint that the run saved: choose another OUT")


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint file, whole or not at all."""
    try:
        # torch.save would write the name of the temporary file into the checkpoint if it were given a path.
        with whole_file(path) as part, part.open("wb") as file:
            torch.save(checkpoint, file)
    except RuntimeError as error:  # PyTorch raises this if the disk is full
        sys.exit(f"{path} could not be written: {str(error).splitlines()[0]}")


def main() -> None:
    """Run the command average_checkpoints.py."""
    parser = cli.Parser()
    parser.add_argument("checkpoints", type=Path, metavar="CHECKPOINTS")
    parser.add_argument("out", type=Path, metavar="OUT")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--last", type=cli.positive, metavar="N")
    which.add_argument("--best", type=cli.positive, metavar="N")
    parser.add_argument("--by", choices=["update", "epoch"])
    args = parser.parse_args()
    if args.best and args.by:
        parser.error("--by goes with --last")
    out = Path(os.path.realpath(args.out))  # if OUT is a link, the file that it points to is replaced
    check_out(out, args.checkpoints)
    if args.best:
        paths = best_checkpoints(args.checkpoints, args.best)
    else:
        paths = last_checkpoints(args.checkpoints, args.last, args.by)
    save(average(paths), out)
    print(f"{args.out} is the average of {', '.join(path.name for path in paths)}")
