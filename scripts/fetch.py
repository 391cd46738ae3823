"""Put files from an address or a local path in a folder: SHA-256 checked, and unpacked where they are .gz alone."""

import argparse
import gzip
import http
import http.client
import shutil
import sys
import urllib.request
import zlib
from pathlib import Path
from typing import Any

from digest import sha256
from tqdm import tqdm

BLOCK = 1 << 20
BAR: dict[str, Any] = {"leave": False, "disable": None, "delay": 2}


def published_sum(table: Path, name: str) -> str | None:
    """Return the SHA-256 of a name in a table as sha256sum writes it, None where the name is not listed."""
    entries = (line.split() for line in table.read_text().splitlines())
    return next((digest for digest, listed in entries if listed == name), None)


def download(address: str, target: Path, instead: str) -> None:
    """Download to target, from where an earlier try ended; exits with one line, `instead` its end, where that fails."""
    have = target.stat().st_size if target.exists() else 0
    headers = {"User-Agent": "rdrop_fairseq", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as answer:
            length = answer.headers["Content-Length"]
            have = have if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0
            size = have + int(length) if length else None
            with (
                target.open("ab" if have else "wb") as out,
                tqdm(desc=target.stem, total=size, initial=have, unit="B", unit_scale=True, **BAR) as bar,
            ):
                while block := answer.read(BLOCK):
                    out.write(block)
                    bar.update(len(block))
        if size is not None and target.stat().st_size != size:
            raise EOFError(f"{target.stat().st_size} bytes came of {size}")
    except (EOFError, OSError, http.client.HTTPException) as error:
        sys.exit(f"cannot download {address} ({error}); {instead}")


def fetch(source: str, target: Path, table: Path | None, instead: str) -> None:
    """Put source, an address or a path, at target. Exits with one line where its SHA-256 is not the table's."""
    name = source.rsplit("/", 1)[-1]
    file = Path(source)
    if "://" in source:
        file = target.with_name(f"{name}.download")
        download(source, file, instead)
    expected = published_sum(table, name) if table else None
    if expected and (found := sha256(file)) != expected:
        sys.exit(f"{source}: wrong SHA-256: expected {expected}, found {found}")
    if name.endswith(".gz"):
        with gzip.open(file) as content, target.open("wb") as out:
            try:
                shutil.copyfileobj(content, out, BLOCK)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                sys.exit(f"{source}: not a whole .gz file ({error})")
    elif file == Path(source):
        shutil.copyfile(file, target)
    else:
        file.replace(target)
    if file != Path(source):
        file.unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", metavar="NAME=SOURCE", help="SOURCE: an address or a path")
    parser.add_argument("--out-dir", type=Path, required=True)
    parser.add_argument("--sums", type=Path, metavar="FILE", help="checksums as sha256sum writes them")
    parser.add_argument(
        "--instead",
        default="where the file is at hand, pass its folder with --from",
        help="what to tell where a download fails",
    )
    args = parser.parse_args()
    for file in args.files:
        name, source = file.split("=", 1)
        fetch(source, args.out_dir / name, args.sums, args.instead)


if __name__ == "__main__":
    main()
