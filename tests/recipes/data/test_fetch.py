"""recipes/data/fetch.py: a download goes on where it broke off, and what cannot be used is told in one line."""

import gzip
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from recipes.data.fetch import INSTEAD, fetch


def refused(source: object, target: Path, checksum: str | None = None, **options: str) -> str:
    """Return the line with which `fetch` exits."""
    with pytest.raises(SystemExit) as error:
        fetch(str(source), target, checksum, **options)
    assert isinstance(error.value.code, str) and "\n" not in error.value.code
    return error.value.code


class Ranged(http.server.SimpleHTTPRequestHandler):
    """Serves `data` from where it is asked to begin, and `short` bytes fewer than it announces."""

    data, short = b"0123456789" * 100, 0
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.asked.append(wanted)
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(self.data) - begin))
        self.end_headers()
        self.wfile.write(self.data[begin : len(self.data) - self.short])


def test_a_download_that_breaks_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranged) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{httpd.server_port}/x.tgz"
        monkeypatch.setattr(Ranged, "short", 300)
        line = refused(address, tmp_path / "x.tgz")
        assert line.startswith(f"cannot download {address} (") and line.endswith(f"; {INSTEAD}")
        assert not (tmp_path / "x.tgz").exists()
        monkeypatch.setattr(Ranged, "short", 0)
        fetch(address, tmp_path / "x.tgz")
        httpd.shutdown()
    assert (tmp_path / "x.tgz").read_bytes() == Ranged.data
    assert Ranged.asked == [None, "bytes=700-"]
    assert {path.name for path in tmp_path.iterdir()} == {"x.tgz"}


DATA = b"0123456789" * 100
PAGE = b"\n<!DOCTYPE html><title>Sign in</title>"
GZ = gzip.compress(DATA, mtime=0)
Answer = tuple[int, dict[str, str], bytes]


class Scripted(http.server.BaseHTTPRequestHandler):
    """Gives the next of `answers`, a status, headers and a body, to each request, and notes the range asked for."""

    answers: ClassVar[list[Answer]] = []
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers["Range"])
        status, headers, body = self.answers.pop(0)
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def scripted() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.mark.parametrize(
    ("left", "answers", "asked"),
    [
        # What was left is whole: the server has nothing more.
        (DATA, [(416, {"Content-Range": "bytes */1000"}, b"")], ["bytes=1000-"]),
        # It is longer than the file, or the server does not say how long that is.
        (DATA + b"x", [(416, {"Content-Range": "bytes */1000"}, b""), (200, {}, DATA)], ["bytes=1001-", None]),
        (DATA, [(416, {}, b""), (200, {}, DATA)], ["bytes=1000-", None]),
        # The server starts again, says that it starts elsewhere, or goes on.
        (DATA[:700], [(200, {}, DATA)], ["bytes=700-"]),
        (DATA[:700], [(206, {"Content-Range": "bytes 0-999/1000"}, DATA), (200, {}, DATA)], ["bytes=700-", None]),
        (DATA[:700], [(206, {"Content-Range": "bytes 700-999/1000"}, DATA[700:])], ["bytes=700-"]),
    ],
)
def test_what_an_earlier_download_left_is_never_in_the_way(
    tmp_path: Path, scripted: str, left: bytes, answers: list[Answer], asked: list[str | None]
) -> None:
    (tmp_path / "x.tgz.download").write_bytes(left)
    Scripted.answers[:], Scripted.asked[:] = answers, []
    fetch(f"{scripted}/x.tgz", tmp_path / "x.tgz")
    assert Scripted.asked == asked
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x.tgz": DATA}


@pytest.mark.parametrize(
    ("name", "left", "answers", "message"),
    [
        ("x.tgz", b"", [(200, {}, PAGE)], "cannot download {}/x.tgz (a web page came, from {}/x.tgz); pass it"),
        ("x.tgz", DATA[:9], [(200, {}, PAGE)], "cannot download {}/x.tgz (a web page came, from {}/x.tgz); pass it"),
        (
            "x.tgz",
            b"",
            [(302, {"Location": "/login"}, b""), (200, {}, PAGE)],
            "cannot download {}/x.tgz (a web page came, from {}/login); pass it",
        ),
        ("x.tgz", b"", [(500, {}, b"")], "cannot download {}/x.tgz (HTTP Error 500: Internal Server Error); pass it"),
        ("x.tgz", b"", [(200, {"Content-Length": "2000"}, DATA)], "(1000 bytes came of 2000); pass it"),
        ("x.gz", b"", [(200, {}, GZ[:-9])], "{}/x.gz: not a whole .gz file (Compressed file ended before the end"),
        ("x.gz", b"", [(200, {}, b"busy")], "{}/x.gz: not a whole .gz file (Not a gzipped file (b'bu')"),
        ("sum.gz", b"", [(200, {}, GZ + GZ)], "{}/sum.gz: wrong SHA-256: expected"),
        ("sum.gz", b"zzz", [(206, {}, GZ[3:])], "{}/sum.gz: wrong SHA-256: expected"),
    ],
)
def test_what_cannot_be_used_is_downloaded_again(
    tmp_path: Path, scripted: str, name: str, left: bytes, answers: list[Answer], message: str
) -> None:
    checksum = hashlib.sha256(GZ).hexdigest() if name == "sum.gz" else None
    if left:
        (tmp_path / f"{name}.download").write_bytes(left)
    Scripted.answers[:] = answers
    line = refused(f"{scripted}/{name}", tmp_path / "made", checksum, instead="pass it")
    assert message.replace("{}", scripted) in line
    # Bytes that were wrong are still there, by another name, and the line says that.
    assert ("run the script again" in line) == (tmp_path / f"{name}.broken").exists() == ("cannot" not in line)
    whole = DATA if name == "x.tgz" else GZ
    had = tmp_path / f"{name}.download"
    have = had.stat().st_size if had.exists() else 0
    Scripted.answers[:] = [(206 if 0 < have < len(whole) else 200, {}, whole[have:] if have < len(whole) else whole)]
    fetch(f"{scripted}/{name}", tmp_path / "made", checksum)
    assert (tmp_path / "made").read_bytes() == DATA
    assert not had.exists()


def test_a_file_is_copied_or_unpacked(tmp_path: Path) -> None:
    source, packed = tmp_path / "x.de", tmp_path / "x.de.gz"
    source.write_bytes(DATA)
    packed.write_bytes(GZ)
    for path in (source, packed):
        fetch(str(path), tmp_path / "made", hashlib.sha256(path.read_bytes()).hexdigest())
        assert (tmp_path / "made").read_bytes() == DATA
        (tmp_path / "made").unlink()
    assert (source.read_bytes(), packed.read_bytes()) == (DATA, GZ)


def test_a_file_of_the_user_that_cannot_be_used_stays_as_it_is(tmp_path: Path) -> None:
    packed = tmp_path / "x.de.gz"
    packed.write_bytes(b"\x1f\x8b\x08\x00")
    assert refused(packed, tmp_path / "made").startswith(f"{packed}: not a whole .gz file (")
    assert refused(packed, tmp_path / "made", "0" * 64).startswith(
        f"{packed}: wrong SHA-256: expected {'0' * 64}, found"
    )
    assert packed.read_bytes() == b"\x1f\x8b\x08\x00"


def test_an_unreachable_address(tmp_path: Path) -> None:
    line = refused("http://127.0.0.1:1/x.de.gz", tmp_path / "x.de")
    assert line.startswith("cannot download http://127.0.0.1:1/x.de.gz (")
