"""Find published archives, take files out of them in one pass, and prepare data of them."""

import contextlib
import gzip
import shutil
import sys
import tarfile
import zipfile
import zlib
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

from tqdm.utils import CallbackIOWrapper

from recipes.data.fetch import BLOCK, INSTEAD, fetch, refuse
from recipes.data.options import PERL
from recipes.data.pipeline import Step, prepare
from recipes.data.prepared import Prepared
from recipes.files import progress, sha256

BROKEN = (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error)


def find_archive(
    source: Path | None,
    names: Sequence[str],
    address: str,
    out: Path,
    instead: str = INSTEAD,
    checksum: str | None = None,
) -> Path:
    """Return an archive: SOURCE, or the first one of these names in the folder SOURCE. Exit if that has none of them.

    Without SOURCE it is in OUT/archives. If it is not there yet, `fetch` downloads it.
    """
    if source and source.is_dir():
        found = [source / name for name in names if (source / name).is_file()]
        if not found:
            sys.exit(f"--from: {source} has {'neither' if len(names) > 1 else 'no'} {' nor '.join(names)}")
        return found[0]
    archive = source or out / "archives" / address.rsplit("/", 1)[-1]
    if not archive.is_file():
        archive.parent.mkdir(exist_ok=True)
        fetch(address, archive, checksum, instead=instead)
    return archive


def settings_of(script: str, pair: str, args: Namespace, testsets: Iterable[str], *, lowercase: bool) -> Prepared:
    """Return how a script prepares a pair of published archives. Tokens are escaped, as Moses' scripts do it."""
    chosen = {"pair": pair, "bpe": args.bpe, "tokens": PERL if args.moses else "sacremoses"}
    return Prepared(script, chosen, list(testsets), lowercase=lowercase, escaped=True)


def prepare_archives(
    args: Namespace, out: Path, settings: Prepared, steps: Sequence[Step], archives: Callable[[], Iterable[Path]]
) -> None:
    """Run the steps on the archives that a function returns, whose checksums are those of the data's sources."""

    def digests() -> dict[str, str]:
        return {archive.name: sha256(archive) for archive in archives()}

    prepare(out, settings, steps, digests, source_is_given=bool(args.source))


def extract(archive: Path, members: Mapping[str, Path], *, inner: str = "", fetched: bool = False) -> None:
    """Write members of an archive, .tar, .tgz or .tar.gz, to files. Exit if it is not whole or lacks one of them.

    Members in .gz are unpacked.

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


@contextlib.contextmanager
def open_text(source: Path, names: Sequence[str], inner: str, hint: str) -> Iterator[tuple[IO[bytes], int]]:
    """Give the first file with one of the names in a folder, its folder `inner` or a .zip, and its size in bytes.

    Exit if there is none, of a .zip with the hint, or if the .zip cannot be unpacked.
    """
    if source.is_dir():
        files = [path for folder in (source, source / inner) for name in names if (path := folder / name).is_file()]
        if not files:
            sys.exit(f"{source} has no {' or '.join(names)}")
        with files[0].open("rb") as text:
            yield text, files[0].stat().st_size
        return
    with source.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = [member for member in archive.infolist() if Path(member.filename).name in names]
                if not members:
                    sys.exit(f"{source} has no {' or '.join(names)}; {hint}")
                if members[0].flag_bits & 1:
                    sys.exit(f"{source} is encrypted; unpack it and pass the folder")
                with archive.open(members[0]) as text:
                    yield text, members[0].file_size
        except Exception as error:  # a broken archive raises what zipfile, zlib, bz2 or lzma came upon
            sys.exit(f"{source}: not a whole .zip file ({error})")
