"""Put files from an address or a local path in a folder: SHA-256 checked, and unpacked where they are .gz."""

import argparse
import gzip
import hashlib
import http.client
import shutil
import sys
import urllib.request
import zlib
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

BLOCK = 1 << 20


def published_sum(table: Path, name: str) -> str | None:
    """Return the SHA-256 of a name in a table as sha256sum writes it, None where the name is not listed."""
    entries = (line.split() for line in table.read_text().splitlines())
    return next((digest for digest, listed in entries if listed == name), None)


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def copy(source: BinaryIO, target: Path, name: str, size: int | None) -> None:
    """Write all of source to target, with progress; the size is for the time left."""
    with (
        target.open("wb") as out,
        tqdm(desc=name, total=size, unit="B", unit_scale=True, leave=False, disable=None, delay=2) as bar,
    ):
        while block := source.read(BLOCK):
            out.write(block)
            bar.update(len(block))


def download(address: str, target: Path) -> None:
    """Download to target; exits with one line where that fails."""
    request = urllib.request.Request(address, headers={"User-Agent": "rdrop_fairseq"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            length = answer.headers["Content-Length"]
            copy(answer, target, target.name, int(length) if length else None)
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"cannot download {address} ({error}); where the file is at hand, pass its folder with --from")


def fetch(source: str, target: Path, table: Path | None) -> None:
    """Put source, an address or a path, at target. Exits with one line where its SHA-256 is not the table's."""
    name = source.rsplit("/", 1)[-1]
    file = Path(source)
    if "://" in source:
        file = target.with_name(f"{name}.download")
        download(source, file)
    expected = published_sum(table, name) if table else None
    if expected and (found := sha256(file)) != expected:
        sys.exit(f"{source}: wrong SHA-256: expected {expected}, found {found}")
    with gzip.open(file) if name.endswith(".gz") else file.open("rb") as content, target.open("wb") as out:
        try:
            shutil.copyfileobj(content, out, BLOCK)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            sys.exit(f"{source}: not a whole .gz file ({error})")
    if file != Path(source):
        file.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", metavar="NAME=SOURCE", help="SOURCE: an address or a path")
    parser.add_argument("--out-dir", type=Path, required=True)
    parser.add_argument("--sums", type=Path, metavar="FILE", help="checksums as sha256sum writes them")
    args = parser.parse_args()
    for file in args.files:
        name, source = file.split("=", 1)
        fetch(source, args.out_dir / name, args.sums)


if __name__ == "__main__":
    main()
