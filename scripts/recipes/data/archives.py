"""Take files out of a published archive, or out of an archive that it holds, in one pass; those in .gz are unpacked."""

import contextlib
import gzip
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from tqdm import tqdm
from tqdm.utils import CallbackIOWrapper

from recipes.cli import Parser
from recipes.data.fetch import BLOCK, refuse

BROKEN = (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error)


@contextlib.contextmanager
def unpacked(stream: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """Give the content of a stream, unpacked where the name says so, and at the end read what is left: its checksum."""
    if not name.endswith((".gz", ".tgz")):
        yield stream
        return
    with gzip.GzipFile(fileobj=stream) as content:
        yield cast(IO[bytes], content)
        while content.read(BLOCK):
            pass


def take(stream: IO[bytes], name: str, wanted: dict[str, Path], inner: str) -> None:
    """Write the members of a tar archive that are wanted, also of the archives in it whose paths end in `inner`.

    What was found is removed from `wanted`. Raises one of BROKEN where the archive is not whole.
    """
    with unpacked(stream, name) as content, tarfile.open(fileobj=content, mode="r|") as archive:
        for member in archive:
            if not member.isreg():  # a link, say, that leads out of the archive
                continue
            path = f"/{member.name}"
            body = cast(IO[bytes], archive.extractfile(member))
            if inner and path.endswith(f"/{inner}"):
                take(body, inner, wanted, "")
                continue
            target = next((part for part in wanted if path.endswith(f"/{part}")), None)
            if target is not None:
                with unpacked(body, target) as text, wanted.pop(target).open("wb") as out:
                    shutil.copyfileobj(text, out, BLOCK)


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("archive", type=Path, metavar="ARCHIVE", help=".tar, .tgz or .tar.gz")
    parser.add_argument("members", nargs="+", metavar="MEMBER=NAME", help="path in the archive, file to make of it")
    parser.add_argument("--inner", default="", metavar="PATH", help="archive in the archive that may hold them")
    parser.add_argument("--out-dir", type=Path, required=True)
    parser.add_argument(
        "--fetched", action="store_true", help="it was downloaded: where it cannot be used, it gets another name"
    )
    args = parser.parse_args()
    fetched = args.archive if args.fetched else None
    members = [member.rsplit("=", 1) for member in args.members]
    wanted = {member: args.out_dir / name for member, name in members}
    size = args.archive.stat().st_size
    with (
        args.archive.open("rb") as file,
        tqdm(desc=args.archive.name, total=size, unit="B", unit_scale=True, leave=False, disable=None, delay=2) as bar,
    ):
        try:
            take(cast(IO[bytes], CallbackIOWrapper(bar.update, file)), args.archive.name, wanted, args.inner)
        except BROKEN as error:
            refuse(args.archive, f"not a whole archive ({error})", fetched)
    if wanted:
        more = f" and {len(wanted) - 1} more" if len(wanted) > 1 else ""
        refuse(args.archive, f"the archive has no {next(iter(wanted))}{more}", fetched)


if __name__ == "__main__":
    main()
