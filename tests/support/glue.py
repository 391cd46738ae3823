"""Stand-ins for GLUE: a few rows of each task in the form of the published files, and GPT-2's files in small."""

import json
from pathlib import Path

from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

SENTENCES = ("A cat sleeps.", 'The "cat is out.', "It is 5 o'clock, and ÿ too.", "No one came.")
MNLI = "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse"
HEADERS = {
    "MRPC": ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
    "QNLI": ["index", "question", "sentence", "label"],
    "QQP": ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"],
    "RTE": ["index", "sentence1", "sentence2", "label"],
    "SST-2": ["sentence", "label"],
    "MNLI": [*MNLI.split(), "sentence1", "sentence2", "label1", "gold_label"],
    "STS-B": "index genre filename year old_index source1 source2 sentence1 sentence2 score".split(),
}
# The names of the columns that are used; CoLA has no header.
USED = {
    "CoLA": ("sentence", None, "label"),
    "MRPC": ("#1 String", "#2 String", "Quality"),
    "QNLI": ("question", "sentence", "label"),
    "QQP": ("question1", "question2", "is_duplicate"),
    "SST-2": ("sentence", None, "label"),
    "MNLI": ("sentence1", "sentence2", "gold_label"),
    "RTE": ("sentence1", "sentence2", "label"),
    "STS-B": ("sentence1", "sentence2", "score"),
}
LABELS = dict.fromkeys(USED, ("0", "1")) | {
    "QNLI": ("not_entailment", "entailment"),
    "RTE": ("not_entailment", "entailment"),
    "MNLI": ("neutral", "contradiction", "entailment"),
    "STS-B": ("5.000", "0", "2.25"),
}
DEV = {"MNLI": ("dev_matched", "dev_mismatched")}


def rows(task: str, split: str, count: int) -> list[tuple[str, str | None, str]]:
    """Return the first sentence, the second one if the task has two, and the label of each row."""
    pairs, labels = USED[task][1] is not None, LABELS[task]
    return [
        (f"{SENTENCES[i % 4]} {split}", SENTENCES[i // 2 % 4] if pairs else None, labels[i % len(labels)])
        for i in range(count)
    ]


def table(task: str, split: str, count: int) -> str:
    """Return a file of a task, with its header if it has one."""
    first, second, label = USED[task]
    columns = HEADERS.get(task, ["source", "label", "star", "sentence"])
    lines = ["\t".join(columns)] if task in HEADERS else []
    for number, (one, other, said) in enumerate(rows(task, split, count)):
        of = {column: f"{column} {number}" for column in columns} | {first: one, label: said}
        lines.append("\t".join((of | {second: other} if second else of).values()))
    return "".join(f"{line}\n" for line in lines)


def write_glue(folder: Path, task: str, train: int = 12, dev: int = 6) -> Path:
    """Write the files of a task to a folder."""
    folder.mkdir(parents=True)
    for split, count in (("train", train), *((name, dev) for name in DEV.get(task, ("dev",)))):
        (folder / f"{split}.tsv").write_text(table(task, split, count), encoding="utf-8")
    return folder


def write_roberta(folder: Path) -> Path:
    """Write GPT-2's files to a folder: an entry for each byte, and two merges."""
    folder.mkdir(parents=True)
    names = [*bytes_to_unicode().values(), "ca", "cat"]
    (folder / "encoder.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    (folder / "vocab.bpe").write_text("#version: 0.2\nc a\nca t\n", encoding="utf-8")
    (folder / "dict.txt").write_text("".join(f"{number} 1\n" for number in range(len(names))))
    return folder
