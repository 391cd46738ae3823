"""The texts of a data set that a user has: in a folder, in a .zip, or in a folder with that .zip."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes.data.archives import open_text
from recipes.files import progress


@dataclass(frozen=True)
class Given:
    """Where the texts of a data set are.

    Attributes:
        path: the folder, or the .zip.
        files: the names that each text may have.
        inner: a folder in the folder that may hold them.
        hint: what to say of a .zip that lacks one.
    """

    path: Path
    files: Mapping[str, Sequence[str]]
    inner: str
    hint: str

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of a text. Exit if it is not there."""
        with open_text(self.path, self.files[name], self.inner, self.hint) as (text, size), progress(name, size) as bar:
            for line in text:
                bar.update(len(line))
                yield line

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each text by its name."""
        found = {name: hashlib.sha256() for name in self.files}
        for name, digest in found.items():
            for line in self.lines(name):
                digest.update(line)
        return {name: digest.hexdigest() for name, digest in found.items()}


def in_folder(source: Path, archive: str) -> Path:
    """Return the .zip of that name in a folder, if there is one, and else what was given."""
    return source / archive if (source / archive).is_file() else source
