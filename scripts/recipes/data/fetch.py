"""Put a file from an address or a local path at another path: its SHA-256 is checked, and a .gz is unpacked."""

import gzip
import http.client
import re
import shutil
import sys
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import NoReturn

from recipes.files import progress, sha256

BLOCK = 1 << 20
INSTEAD = "where the file is at hand, pass its folder with --from"
# How a web page begins. Servers send one for a login, an error or a warning, with a status that tells of no error.
PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|script|!--)", re.IGNORECASE)


def refuse(what: object, why: str, fetched: Path | None) -> NoReturn:
    """Exit with one line. A file that was downloaded is renamed before, so that the next run downloads it."""
    if fetched:
        broken = fetched.replace(fetched.with_name(f"{fetched.name.removesuffix('.download')}.broken"))
        why += f"; it is now {broken.name}, run the script again to download it"
    sys.exit(f"{what}: {why}")


def download(address: str, target: Path) -> None:
    """Download to a file. Go on where an earlier try ended if the server can do that, or else start again.

    Raise OSError, EOFError or HTTPException if that fails. What was received is kept, unless it is a web page.
    """
    have = target.stat().st_size if target.exists() else 0
    headers = {"User-Agent": "rdrop_fairseq", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60)
    except urllib.error.HTTPError as error:
        if not have or error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if error.headers["Content-Range"] != f"bytes */{have}":  # or else the earlier try was complete
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
        with target.open("ab" if have else "wb") as out, progress(target.stem, size, done=have) as bar:
            while block:
                out.write(block)
                bar.update(len(block))
                block = answer.read(BLOCK)
    if size is not None and target.stat().st_size != size:
        raise EOFError(f"{target.stat().st_size} bytes came of {size}")


def fetch(source: str, target: Path, checksum: str | None = None, *, instead: str = INSTEAD) -> None:
    """Put what is at an address or a path at `target`.

    Exit with one line if it cannot be downloaded, which ends in `instead`, if its SHA-256 is not the checksum, or if it
    is a .gz that is not whole.
    """
    name = source.rsplit("/", 1)[-1]
    file, fetched = Path(source), None
    if "://" in source:
        file = fetched = target.with_name(f"{name}.download")
        try:
            download(source, file)
        except (EOFError, OSError, http.client.HTTPException) as error:
            sys.exit(f"cannot download {source} ({error}); {instead}")
    if checksum and (found := sha256(file)) != checksum:
        refuse(source, f"wrong SHA-256: expected {checksum}, found {found}", fetched)
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
