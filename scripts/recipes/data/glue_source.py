"""Where the files of a task of GLUE are: in a folder, in a .zip, or at their addresses."""

import sys
from collections.abc import Iterator
from pathlib import Path

from recipes.data.archives import find_archive
from recipes.data.given import Given
from recipes.data.sentences import Row
from recipes.data.tables import Task, rows_of
from recipes.files import read_lines, sha256

SITE = "https://dl.fbaipublicfiles.com"
# MRPC's own files, of which GLUE's script makes train.tsv and dev.tsv, and their addresses.
MSR, DEV_IDS = "msr_paraphrase_train.txt", "dev_ids.tsv"
MSR_SITES = {MSR: f"{SITE}/senteval/senteval_data/{MSR}", DEV_IDS: f"{SITE}/glue/data/mrpc_dev_ids.tsv"}


class Source:
    """Where the files of a task are: in a folder, in one with the name of the task in it, or in a .zip."""

    def __init__(self, name: str, task: Task, given: Path | None, out: Path) -> None:
        self.name, self.task, self.given, self.out = name, task, given, out
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
        yield from rows_of(Given(self.path, {file: (file,)}, self.name, hint).lines(file), file, self.task)
