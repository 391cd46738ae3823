"""Average the parameters of a run's last checkpoints: average_checkpoints.py CHECKPOINTS N OUT"""

import argparse
import logging
import re
import sys
from pathlib import Path

import torch

logging.disable(logging.INFO)  # fairseq's import tells of optional packages
from fairseq.checkpoint_utils import load_checkpoint_to_cpu  # noqa: E402

import rdrop_fairseq  # noqa: E402, F401  (its safe globals let the checkpoints load)


def last_checkpoints(folder: Path, count: int) -> list[Path]:
    """Return the last `count` checkpoints saved by update (checkpoint_EPOCH_UPDATE.pt), the newest first."""
    named = [(re.fullmatch(r"checkpoint_\d+_(\d+)\.pt", path.name), path) for path in folder.glob("*.pt")]
    by_update = {int(match[1]): path for match, path in named if match}
    if len(by_update) < count:
        kept = "checkpoint.keep_interval_updates says how many a run keeps"
        sys.exit(f"--average {count}: {folder} holds {len(by_update)} checkpoints saved by update; {kept}")
    return [by_update[update] for update in sorted(by_update, reverse=True)[:count]]


def average(paths: list[Path]) -> dict:
    """Return the first checkpoint with its parameters replaced by the mean over all, taken in float64.

    Raises:
        ValueError: if the checkpoints do not hold the same parameters.
    """
    result = load_checkpoint_to_cpu(str(paths[0]))
    states = [result["model"], *(load_checkpoint_to_cpu(str(path))["model"] for path in paths[1:])]
    for path, state in zip(paths, states, strict=True):
        if state.keys() != result["model"].keys():
            raise ValueError(f"{path} does not hold the same parameters as {paths[0]}")
    result["model"] = {
        name: sum(state[name].double() for state in states).div(len(states)).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in result["model"].items()
    }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    torch.save(average(last_checkpoints(args.checkpoints, args.count)), args.out)


if __name__ == "__main__":
    main()
