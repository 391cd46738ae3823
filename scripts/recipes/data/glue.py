"""GLUE: eight tasks of sentences in English, from their published archives or from where a user has them."""

import shlex
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from recipes.cli import ROOT, positive
from recipes.data.archives import find_archive, open_text
from recipes.data.encodings import Encoding, Gpt2, LearnedBpe
from recipes.data.options import Options, file_or_folder, folder, tell_next
from recipes.data.sentences import Classes, Numbers, Row, Sentences, prepare_sentences, table_rows
from recipes.files import progress, read_lines, sha256

SHOWN = 100  # characters of a header in an error
SITE = "https://dl.fbaipublicfiles.com"
BINARY, ENTAILMENT = Classes(("0", "1")), Classes(("not_entailment", "entailment"))


@dataclass(frozen=True)
class Task:
    """What the files of a task hold.

    Attributes:
        sentences, label: the names of these columns, or their numbers if the files have no header.
        labels: the classes, or the range of the numbers.
        columns: how many a file without a header has.
        dev: the file for validation, and those for other test sets, by their names.
        archive: the published one.
        drop_malformed: leave out lines with another number of columns, as fairseq's recipe does.
        keep_empty: take rows with an empty sentence.
    """

    sentences: tuple[str, ...]
    label: str
    labels: Classes | Numbers
    columns: int = 0
    dev: tuple[tuple[str, str], ...] = (("valid", "dev"),)
    archive: str = ""
    drop_malformed: bool = False
    keep_empty: bool = False


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
# MRPC's own files, of which GLUE's script makes train.tsv and dev.tsv, and their addresses.
MSR, DEV_IDS = "msr_paraphrase_train.txt", "dev_ids.tsv"
MSR_SITES = {MSR: f"{SITE}/senteval/senteval_data/{MSR}", DEV_IDS: f"{SITE}/glue/data/mrpc_dev_ids.tsv"}


def task_of(text: str) -> str:
    """Return the name of the task that a text says, in upper or lower case, with or without a hyphen."""
    plain = {name.replace("-", "").lower(): name for name in TASKS}
    name = plain.get(text.replace("-", "").lower())
    if name is None:
        raise ArgumentTypeError(f"must be one of {', '.join(TASKS)}, not '{text}'")
    return name


def rows_of(
    lines: Iterable[bytes], file: str, task: Task, wanted: Callable[[list[str]], bool] = lambda fields: True
) -> Iterator[Row]:
    """Yield the rows of a file of a task. Exit if its header lacks a column, or at a line of another form.

    Args:
        wanted: whether a line with these columns is taken.
    """
    places = {str(number): number for number in range(task.columns)}
    dropped, width = 0, task.columns
    for where, fields in table_rows(lines, file):
        if not places:
            places, width = {name: number for number, name in enumerate(fields)}, len(fields)
            for name in (*task.sentences, task.label):
                if name not in places:
                    sys.exit(f"{where}: the header has no column {name!r}: it is {' '.join(fields)[:SHOWN]!r}")
        elif len(fields) == width:
            if wanted(fields):
                yield Row(where, fields[places[task.label]], tuple(fields[places[name]] for name in task.sentences))
        elif task.drop_malformed:
            dropped += 1
        else:
            sys.exit(f"{where}: must have {width} columns, separated by tabs, not {len(fields)}")
    if dropped:
        print(f"{file}: {dropped:,} lines that have another number of columns are left out")


class Source:
    """Where the files of a task are: in a folder, in one with the name of the task in it, or in a .zip."""

    def __init__(self, name: str, given: Path | None, out: Path) -> None:
        self.name, self.task, self.given, self.out = name, TASKS[name], given, out
        self.files = {"train": "train.tsv", **{split: f"{file}.tsv" for split, file in self.task.dev}}

    @property
    def path(self) -> Path:
        """The folder or the archive. Without --from the archive is downloaded."""
        if self.given and self.given.is_file():
            return self.given
        archive = self.task.archive
        if self.given:
            zipped = self.given / archive
            return zipped if archive and zipped.is_file() else self.given
        return find_archive(None, [archive], f"{SITE}/glue/data/{archive}", self.out)

    def find(self, name: str) -> Path | None:
        """Return a file of the folder, or of that of the task in it; None if there is none."""
        places = [self.given / name, self.given / self.name / name] if self.given else []
        return next((place for place in places if place.is_file()), None)

    @property
    def is_msr(self) -> bool:
        """Whether MRPC is to be made of its own files: where they are given, or where nothing is."""
        of_folder = self.given is None or (self.given.is_dir() and self.find("train.tsv") is None)
        return self.name == "MRPC" and of_folder

    def msr(self, name: str) -> Path:
        """Return one of MRPC's own files. Without --from it is downloaded; exit if a folder lacks it."""
        if not self.given:
            return find_archive(None, [], MSR_SITES[name], self.out)
        found = self.find(name) or self.find(f"mrpc_{name}")
        return found or sys.exit(f"{self.given} has no train.tsv, and as the source of that it has no {name}")

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each source."""
        if self.is_msr:
            paths = [self.msr(MSR), self.msr(DEV_IDS)]
        elif self.path.is_file():
            paths = [self.path]
        else:
            paths = [self.find(name) or sys.exit(f"{self.given} has no {name}") for name in self.files.values()]
        return {path.name: sha256(path) for path in paths}

    def rows(self, split: str) -> Iterator[Row]:
        """Yield the rows of a split. Of MRPC's own files the dev set is what a list of pairs of numbers says."""
        if self.is_msr:
            dev = {line.strip() for line in read_lines(self.msr(DEV_IDS))}
            with self.msr(MSR).open("rb") as text:
                in_dev = split != "train"
                yield from rows_of(text, MSR, self.task, lambda fields: ("\t".join(fields[1:3]) in dev) == in_dev)
            return
        file, hint = self.files[split], f"is it the archive of {self.name}?"
        with open_text(self.path, (file,), self.name, hint) as (text, size), progress(file, size) as bar:
            yield from rows_of((line for line in text if bar.update(len(line)) or True), file, self.task)


def main(arguments: Sequence[str] | None = None) -> None:
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
    source = Source(name, args.source, args.out)
    splits = {split: partial(source.rows, split) for split in source.files}
    task = source.task
    inputs, empty = len(task.sentences), task.keep_empty
    sentences = Sentences(args.out, splits, task.labels, encoding, args.workers, inputs, empty)
    prepare_sentences(args, "prepare_glue.sh", {"task": name}, sentences, source.digests)
    start = f" --from {shlex.quote(f'{args.roberta}/model.pt')}" if args.roberta else ""
    tell_next(args.out, f"{data}/{called}", f"configs/{data}/{called}.yaml{start}")
