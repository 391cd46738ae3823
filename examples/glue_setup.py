"""What trainer_glue.py starts from: the rows of a task, in batches, the pretrained model, and the scores."""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

Row = tuple[Any, ...]  # one sentence or two, and the label: the number of a class, or a number from 0 to 5


def load_rows(args: Namespace) -> tuple[list[Row], list[Row]]:
    """Return the rows to train on and those of the dev set. Exit with what is wrong with a file."""
    sets: list[list[Row]] = []
    names: list[str] = []
    for split in ("train", "valid"):
        paths = [args.data / f"{split}.{part}" for part in (*args.parts, "label")]
        try:
            *texts, labels = (path.read_text(encoding="utf-8").removesuffix("\n").split("\n") for path in paths)
        except (OSError, ValueError) as error:
            sys.exit(f"--data {args.data}: cannot read {split}: {error}")
        if wrong := [path.name for path, text in zip(paths, texts, strict=False) if len(text) != len(labels)]:
            sys.exit(f"--data {args.data}: {wrong[0]} and {split}.label must have the same number of lines")
        names = names or sorted(set(labels))
        try:
            targets = [float(label) if args.classes == 1 else names.index(label) for label in labels]
        except ValueError as error:
            sys.exit(f"--data {args.data}: a label of {split}: {error}")
        sets.append([*zip(*texts, targets, strict=True)])
    if args.classes not in (1, len(names)):
        sys.exit(f"--data {args.data}: train.label has {len(names)} classes, and {args.task} has {args.classes}")
    return sets[0], sets[1]


def load_model(args: Namespace) -> tuple[Any, Any]:
    """Return the tokenizer and the model, whose head is new. Exit in one line if the model cannot be used."""
    logging.set_verbosity_error()  # it would report the new head, for each training
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(args.model, num_labels=args.classes)
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            args.model, config=config, output_loading_info=True, ignore_mismatched_sizes=True
        )
        tokenizer = AutoTokenizer.from_pretrained(args.model)
        other = [*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])]
        if lost := sorted(key for key in other if not key.startswith(("classifier.", "bert.pooler."))):
            raise ValueError(f"its weights have no {lost[0]} of the size that its config.json says")
        if not len(tokenizer.all_special_ids) < len(tokenizer) <= config.vocab_size:
            raise ValueError(f"its tokenizer has {len(tokenizer)} entries, and the model {config.vocab_size}")
        if args.length > config.max_position_embeddings:
            raise ValueError(f"--length {args.length} is more than its {config.max_position_embeddings} positions")
    except Exception as error:  # of many kinds: of files, of formats, of the network
        sys.exit(f"--model {args.model} cannot be used: {' '.join(str(error).split())}")
    return tokenizer, model


def collator(tokenizer: Any, length: int) -> Callable[[Sequence[Row]], dict[str, torch.Tensor]]:
    """Return what makes a batch of rows; the longer sentence of a pair is cut first."""

    def collate(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        *texts, labels = map(list, zip(*rows, strict=True))
        inputs = tokenizer(*texts, truncation=True, max_length=length, padding=True, return_tensors="pt")
        return {**inputs, "labels": torch.tensor(labels)}

    return collate


def scorer(score: str) -> Callable[[Any], dict[str, float]]:
    """Return what computes a score, in percent, of the outputs and labels that the Trainer collected.

    Matthews' correlation is Pearson's of two classes, as numbers. That of outputs that are all equal counts as 0.
    """

    def score_of(prediction: Any) -> dict[str, float]:
        outputs, labels = prediction.predictions, prediction.label_ids
        predicted = outputs.squeeze(-1) if outputs.shape[-1] == 1 else outputs.argmax(-1)
        if score == "accuracy":
            return {"score": 100 * float((predicted == labels).mean())}
        with np.errstate(invalid="ignore"):
            return {"score": 100 * float(np.nan_to_num(np.corrcoef(predicted, labels)[0, 1]))}

    return score_of
