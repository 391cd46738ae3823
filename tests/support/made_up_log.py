"""Lines of a training log, and a run folder with such a log that was never trained."""

import json
from pathlib import Path

FRESH = "[fairseq.trainer][INFO] - No existing checkpoint found c/checkpoint_last.pt\n"
BEGIN_VALID = '[fairseq_cli.train][INFO] - begin validation on "valid" subset\n'


def paused(seconds: float) -> str:
    """Return the line of a log that train.sh writes after a pause."""
    return f"train.sh: paused for {seconds:.1f} seconds\n"


def resumed(update: int) -> str:
    """Return the line of a log that says where a start goes on."""
    return f"[fairseq.trainer][INFO] - Loaded checkpoint c/checkpoint_last.pt (epoch 2 @ {update} updates)\n"


def inner(update: int, seconds: float) -> str:
    """Return the line of a log that sums up the updates since the one before."""
    return f'[train_inner][INFO] - {{"epoch": 1, "num_updates": "{update}", "train_wall": "{seconds}"}}\n'


def epoch_end(update: int) -> str:
    """Return the line of a log at the end of an epoch."""
    return f'[train][INFO] - {{"epoch": 1, "train_num_updates": "{update}", "train_train_wall": "99"}}\n'


def valid(update: int, loss: float, bleu: float, saved: bool = True) -> str:
    """Return the lines of a log on a validation and, unless told otherwise, the checkpoint of it."""
    numbers = {"num_updates": update, "loss": loss, "ppl": 2**loss, "bleu": bleu}
    text = json.dumps({f"valid_{key}": f"{value:g}" for key, value in numbers.items()})
    line = f"[valid][INFO] - {text}\n"
    if saved:
        line += "[fairseq.checkpoint_utils][INFO] - Saved checkpoint c/checkpoint_1.pt "
        line += f"(epoch 1 @ {update} updates, score {bleu}) (writing took 0.1 seconds)\n"
    return line


LOG = FRESH + inner(5, 30) + valid(5, 3, 9) + inner(10, 60) + valid(10, 2, 7)


def make_run(folder: Path, bleu: float, evaluation: str = "best", test: str = "made_up", **more: float) -> Path:
    """Return a run folder as train.sh and evaluate_translation.sh leave it, as far as it is read."""
    out = folder / "evaluation" / evaluation
    out.mkdir(parents=True, exist_ok=True)
    (folder / "train.log").write_text(LOG)
    (folder / "train.yaml").write_text("checkpoint: {maximize_best_checkpoint_metric: true}\n")
    (folder / "versions.txt").write_text("python 3.11\n")
    scores = {"bleu": bleu, "tokenized_bleu": bleu + 1, "chrf": bleu + 20} | more
    (out / f"{test}.json").write_text(json.dumps(scores))
    return folder
