"""GLUE: eight tasks of sentences in English, from their published archives or from where a user has them."""

import shlex
from argparse import ArgumentTypeError
from collections.abc import Sequence
from functools import partial

from recipes.cli import ROOT, positive
from recipes.data.encodings import Encoding, Gpt2, LearnedBpe
from recipes.data.glue_source import Source
from recipes.data.options import Options, file_or_folder, folder, tell_next
from recipes.data.sentences import Classes, Numbers, Sentences, prepare_sentences
from recipes.data.tables import Task

BINARY, ENTAILMENT = Classes(("0", "1")), Classes(("not_entailment", "entailment"))
PAIR = ("sentence1", "sentence2")
TASKS = {
    "CoLA": Task(("3",), "1", BINARY, columns=4, archive="CoLA.zip"),
    "MRPC": Task(("#1 String", "#2 String"), "Quality", BINARY),
    "QNLI": Task(("question", "sentence"), "label", ENTAILMENT, archive="QNLIv2.zip"),
    "QQP": Task(
        ("question1", "question2"),
        "is_duplicate",
        BINARY,
        archive="QQP-clean.zip",
        drop_malformed=True,
        keep_empty=True,
    ),
    "RTE": Task(PAIR, "label", ENTAILMENT, archive="RTE.zip"),
    "SST-2": Task(("sentence",), "label", BINARY, archive="SST-2.zip"),
    "MNLI": Task(
        PAIR,
        "gold_label",
        Classes(("contradiction", "neutral", "entailment")),
        dev=(("valid", "dev_matched"), ("mismatched", "dev_mismatched")),
        archive="MNLI.zip",
    ),
    "STS-B": Task(PAIR, "score", Numbers(0, 5), archive="STS-B.zip"),
}


def task_of(text: str) -> str:
    """Return the name of the task that a text says, in upper or lower case, with or without a hyphen."""
    plain = {name.replace("-", "").lower(): name for name in TASKS}
    name = plain.get(text.replace("-", "").lower())
    if name is None:
        raise ArgumentTypeError(f"must be one of {', '.join(TASKS)}, not '{text}'")
    return name


def main(arguments: Sequence[str]) -> None:
    """Run the command prepare_glue.sh."""
    options = Options(source=file_or_folder)
    options.add_argument("task", type=task_of, metavar="TASK")
    how = options.add_mutually_exclusive_group(required=True)
    how.add_argument("--roberta", type=folder, metavar="DIR")
    how.add_argument("--bpe", type=positive, metavar="N")
    args = options.parse_args(arguments)
    name, called, data = args.task, args.task.replace("-", "").lower(), "glue" if args.roberta else "glue_small"
    args.out = args.out or ROOT / "data" / data / called
    encoding: Encoding = Gpt2(args.roberta) if args.roberta else LearnedBpe(args.bpe)
    source = Source(name, TASKS[name], args.source, args.out)
    splits = {split: partial(source.rows, split) for split in source.files}
    task = source.task
    inputs, empty = len(task.sentences), task.keep_empty
    sentences = Sentences(args.out, splits, task.labels, encoding, args.workers, inputs, empty)
    prepare_sentences(args, "prepare_glue.sh", {"task": name}, sentences, source.digests)
    start = f" --from {shlex.quote(f'{args.roberta}/model.pt')}" if args.roberta else ""
    tell_next(args.out, f"{data}/{called}", f"configs/{data}/{called}.yaml{start}")
