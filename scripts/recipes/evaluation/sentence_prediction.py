"""Score what a model predicts about sentences, classes or numbers: the command scripts/evaluate_glue.sh."""

import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from recipes.data.prepared import is_prepared, read_prepared
from recipes.evaluation.checkpoint_choice import ModelParser, chosen_checkpoint
from recipes.evaluation.measures import OF_SENTENCES
from recipes.evaluation.safe_checkpoint import failure_in_one_line
from recipes.files import progress, whole_folder, write_lines
from recipes.training.run_folder import RunFolder

BATCH = 32  # rows


def splits_of(data: Path, kind: str) -> dict[str, str]:
    """Return the sets that have labels by their names in binarized data, with what the results call them.

    These are "valid", and for test sets the names that a prepare script has written down.

    Args:
        kind: the ending of the files of labels, "bin" for classes or "label" for numbers.
    """
    found = sorted(file.stem for file in (data / "label").glob(f"*.{kind}") if re.match("valid|test", file.stem))
    names = read_prepared(data.parent).testsets if is_prepared(data.parent) else []
    known = {f"test{number or ''}": name for number, name in enumerate(names)}
    return {split: known.get(split, split) for split in sorted(found, key=lambda split: not split.startswith("valid"))}


@torch.no_grad()
def predict(model: Any, task: Any, split: str, head: str, on_gpu: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a model predicts for each row of a set, in order, and the labels: two tensors ``[rows]``.

    Classes are integers, from 0; the predicted one has the highest probability.
    """
    from fairseq import utils

    model.eval()
    task.load_dataset(split)
    batches = task.get_batch_iterator(
        task.dataset(split),
        max_sentences=BATCH,
        max_positions=utils.resolve_max_positions(task.max_positions(), model.max_positions()),
    ).next_epoch_itr(shuffle=False)
    rows = torch.full((len(task.dataset(split)),), math.nan, dtype=torch.float64)
    labels = rows.clone()
    with progress(split, len(batches), "batch") as bar:
        for sample in batches:
            sample = utils.move_to_cuda(sample) if on_gpu else sample
            outputs = model(**sample["net_input"], features_only=True, classification_head_name=head)[0].float()
            outputs = outputs.view(-1) if task.cfg.regression_target else outputs.argmax(-1)
            rows[sample["id"].cpu()] = outputs.double().cpu()
            labels[sample["id"].cpu()] = sample["target"].view(-1).double().cpu()
            bar.update()
    return rows, labels


def score(predicted: Any, labels: Any, criterion: Any) -> dict[str, float]:
    """Return the scores, in percent, that the flags of the criterion ask for, as fairseq computes them.

    Args:
        predicted, labels: arrays ``[rows]`` of numbers or of classes. For F1 the class 1 is the positive one.
    """
    from fairseq.criterions import sentence_prediction as of

    found = {}
    if criterion.get("regression_target"):
        both = of.pearson_and_spearman(predicted, labels)
        found = {"pearson": both["pearson"], "spearman": both["spearmanr"]}
    else:
        if criterion.get("report_mcc"):
            found["mcc"] = of.matthews_corrcoef(predicted, labels)
        found["accuracy"] = of.simple_accuracy(predicted, labels)
        if criterion.get("report_acc_and_f1"):
            found["f1"] = of.acc_and_f1(predicted, labels)["f1"]
    return {name: 100 * float(value) for name, value in found.items()}


def evaluate(run: RunFolder, checkpoint: Any, part: Path) -> None:
    """Write the scores and the predictions of each set of a run to a folder, and print the scores."""
    from fairseq import checkpoint_utils

    with failure_in_one_line(f"evaluating {checkpoint.origin} on {run.data}"):
        files = {"data": str(run.data)}
        (model,), cfg, task = checkpoint_utils.load_model_ensemble_and_task([str(checkpoint.path)], arg_overrides=files)
        on_gpu = torch.cuda.is_available() and not run.setting("common.cpu", bool)
        if on_gpu:
            model.cuda()
        numbers, words = cfg.task.regression_target, task.label_dictionary
        # The parent makes integers of the labels for its scores; the order of the dictionary is not theirs.
        names = [] if numbers else words.symbols[words.nspecial : words.nspecial + cfg.task.num_classes]
        splits = splits_of(run.data, "label" if numbers else "bin")
    if "valid" not in splits:
        sys.exit(f"{run.data} has no labels of a validation set")
    for split, name in splits.items():
        with failure_in_one_line(f"evaluating {checkpoint.origin} on {run.data}, {split}"):
            rows, labels = predict(model, task, split, cfg.criterion.classification_head_name, on_gpu)
            if numbers:
                told, of_rows = [f"{row:.9g}" for row in rows], (rows.numpy(), labels.numpy())
            else:
                told = [names[int(row)] for row in rows]
                flags = cfg.criterion.get("report_mcc") or cfg.criterion.get("report_acc_and_f1")
                classes = torch.tensor(list(map(int, names)) if flags else list(range(len(names))))
                of_rows = (classes[rows.long()].numpy(), classes[labels.long()].numpy())
            scores = score(*of_rows, cfg.criterion)
        if not all(map(math.isfinite, scores.values())):
            sys.exit(f"{split}: all predictions are {told[0]}, or no numbers, so that they have no correlation")
        result = {"sentences": len(rows), **scores, **checkpoint.facts}
        write_lines(part / f"{name}.predictions", told)
        (part / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(f"{name}: {', '.join(f'{OF_SENTENCES[key]} {value:.2f}' for key, value in scores.items())} "
              f"({len(rows):,} rows)")  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Run the command evaluate_glue.sh."""
    args = ModelParser(out=True).parse_args(arguments)
    run = args.run
    if run.kind != "sentence_prediction":
        sys.exit(f"{run} predicts nothing about sentences: its task is {run.task or 'not named'}")
    if not (run.data / "input0" / "dict.txt").is_file():
        sys.exit(f"{run.data} holds no prepared data (no input0/dict.txt)")
    run.check_dictionaries(run.data)
    with chosen_checkpoint(args) as checkpoint:
        out = args.results.evaluation(checkpoint.name)
        with whole_folder(out) as part:
            evaluate(run, checkpoint, part)
    print(f"The scores and the predictions are in {out}")
