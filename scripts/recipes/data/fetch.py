"""Put files from an address or a local path in a folder: SHA-256 checked, and unpacked where they are .gz alone."""

import gzip
import http
import http.client
import re
import shutil
import sys
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from recipes.cli import Parser
from recipes.files import sha256

BLOCK = 1 << 20
BAR: dict[str, Any] = {"leave": False, "disable": None, "delay": 2}
# How a web page begins: what servers send for a login, an error or a warning, with a status that tells of no error.
PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|script|!--)", re.IGNORECASE)


def published_sum(table: Path, name: str) -> str | None:
    """Return the SHA-256 of a name in a table as sha256sum writes it, None where the name is not listed."""
    entries = (line.split() for line in table.read_text().splitlines())
    return next((digest for digest, listed in entries if listed == name), None)


def refuse(what: object, why: str, fetched: Path | None) -> NoReturn:
    """Exit with one line; a file that was fetched gets another name before, so that the next run fetches it anew."""
    if fetched:
        broken = fetched.replace(fetched.with_name(f"{fetched.name.removesuffix('.download')}.broken"))
        why += f"; it is now {broken.name}, run again to fetch it anew"
    sys.exit(f"{what}: {why}")


def download(address: str, target: Path) -> None:
    """Download to target: from where an earlier try ended, or anew where the server does not go on from there.

    Raises OSError, EOFError or HTTPException where that fails. What came until then stays, but for a web page.
    """
    have = target.stat().st_size if target.exists() else 0
    headers = {"User-Agent": "rdrop_fairseq", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60)
    except urllib.error.HTTPError as error:
        if not have or error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if error.headers["Content-Range"] != f"bytes */{have}":  # else the earlier try came to the end
            target.unlink()
            download(address, target)
        return
    with answer:
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        elif not answer.headers.get("Content-Range", f"bytes {have}-").startswith(f"bytes {have}-"):
            target.unlink()
            download(address, target)
            return
        length = answer.headers["Content-Length"]
        size = have + int(length) if length else None
        block = answer.read(BLOCK)
        if not have and PAGE.match(block):
            raise EOFError(f"a web page came, from {answer.url}")
        with (
            target.open("ab" if have else "wb") as out,
            tqdm(desc=target.stem, total=size, initial=have, unit="B", unit_scale=True, **BAR) as bar,
        ):
            while block:
                out.write(block)
                bar.update(len(block))
                block = answer.read(BLOCK)
    if size is not None and target.stat().st_size != size:
        raise EOFError(f"{target.stat().st_size} bytes came of {size}")


def fetch(source: str, target: Path, table: Path | None, instead: str) -> None:
    """Put source, an address or a path, at target.

    Exits with one line where it cannot be had (`instead` is the end of the line), where its SHA-256 is not the table's,
    or where it is a .gz that is not whole.
    """
    name = source.rsplit("/", 1)[-1]
    file, fetched = Path(source), None
    if "://" in source:
        file = fetched = target.with_name(f"{name}.download")
        try:
            download(source, file)
        except (EOFError, OSError, http.client.HTTPException) as error:
            sys.exit(f"cannot download {source} ({error}); {instead}")
    expected = published_sum(table, name) if table else None
    if expected and (found := sha256(file)) != expected:
        refuse(source, f"wrong SHA-256: expected {expected}, found {found}", fetched)
    if name.endswith(".gz"):
        with gzip.open(file) as content, target.open("wb") as out:
            try:
                shutil.copyfileobj(content, out, BLOCK)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                refuse(source, f"not a whole .gz file ({error})", fetched)
    elif fetched:
        file.replace(target)
    else:
        shutil.copyfile(file, target)
    if fetched:
        file.unlink(missing_ok=True)


def main() -> None:
    parser = Parser(__doc__)
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
