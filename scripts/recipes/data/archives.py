"""Take files out of a published archive, or out of an archive that it holds, in one pass. Those in .gz are unpacked."""

import contextlib
import gzip
import shutil
import tarfile
import zlib
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, cast

from tqdm.utils import CallbackIOWrapper

from recipes.data.fetch import BLOCK, fetch, refuse
from recipes.data.options import PERL
from recipes.data.prepared import Prepared
from recipes.files import progress

BROKEN = (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error)


def settings_of(script: str, pair: str, args: Namespace, testsets: Iterable[str], *, lowercase: bool) -> Prepared:
    """Return how a script prepares a pair of published archives. Tokens are escaped, as Moses' scripts do it."""
    chosen = {"pair": pair, "bpe": args.bpe, "tokens": PERL if args.moses else "sacremoses"}
    return Prepared(script, chosen, list(testsets), lowercase=lowercase, escaped=True)


def downloaded(address: str, out: Path, instead: str) -> Path:
    """Return the archive of an address, in OUT/archives. It is downloaded unless it is there, as `fetch` does it."""
    folder = out / "archives"
    folder.mkdir(exist_ok=True)
    archive = folder / address.rsplit("/", 1)[-1]
    if not archive.is_file():
        fetch(address, archive, instead=instead)
    return archive


def extract(archive: Path, members: Mapping[str, Path], *, inner: str = "", fetched: bool = False) -> None:
    """Write members of an archive, .tar, .tgz or .tar.gz, to files. Exit if it is not whole or lacks one of them.

    Args:
        members: paths in the archive, or their ends, and the file to make of each.
        inner: the end of the path of an archive in the archive that may hold them.
        fetched: whether the archive was downloaded. If it cannot be used, it is then renamed.
    """
    wanted, remove = dict(members), archive if fetched else None
    with archive.open("rb") as file, progress(archive.name, archive.stat().st_size) as bar:
        try:
            _take(cast(IO[bytes], CallbackIOWrapper(bar.update, file)), archive.name, wanted, inner)
        except BROKEN as error:
            refuse(archive, f"not a whole archive ({error})", remove)
    if wanted:
        more = f" and {len(wanted) - 1} more" if len(wanted) > 1 else ""
        refuse(archive, f"the archive has no {next(iter(wanted))}{more}", remove)


@contextlib.contextmanager
def _unpacked(stream: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """Give the content of a stream, unpacked if the name says so. Its end is read too: the checksum."""
    if not name.endswith((".gz", ".tgz")):
        yield stream
        return
    with gzip.GzipFile(fileobj=stream) as content:
        yield cast(IO[bytes], content)
        while content.read(BLOCK):
            pass


def _take(stream: IO[bytes], name: str, wanted: dict[str, Path], inner: str) -> None:
    """Write the members of a tar archive that are wanted, and remove them from `wanted`.

    Raise one of BROKEN if the archive is not whole.
    """
    with _unpacked(stream, name) as content, tarfile.open(fileobj=content, mode="r|") as archive:
        for member in archive:
            if not member.isreg():  # as a link that leads out of the archive
                continue
            path = f"/{member.name}"
            body = cast(IO[bytes], archive.extractfile(member))
            if inner and path.endswith(f"/{inner}"):
                _take(body, inner, wanted, "")
                continue
            target = next((part for part in wanted if path.endswith(f"/{part}")), None)
            if target is not None:
                with _unpacked(body, target) as text, wanted.pop(target).open("wb") as out:
                    shutil.copyfileobj(text, out, BLOCK)
