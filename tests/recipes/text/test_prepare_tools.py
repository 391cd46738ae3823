"""The Python tools under scripts/ that the prepare scripts share: BPE, checks, the pool of workers."""

import argparse
import gzip
import hashlib
import http.server
import importlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest
import torch
from fairseq.data import indexed_dataset
from support.places import SCRIPTS
from support.prepare import pack
from support.waiting import HANG, wait_until


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SCRIPTS))


def tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / "tool.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG)


# The pool of workers


@pytest.mark.parametrize("workers", [1, 3])
def test_lines_keep_their_order_and_number(tmp_path: Path, workers: int) -> None:
    source = tmp_path / "text.en"
    lines = [f"line {i}\u2028\u0085{'x' * (i % 7)}" for i in range(5001)]
    source.write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "out").mkdir()
    load("line_pool").map_files(lambda: lambda part: [line[::-1] for line in part], [source], tmp_path / "out", workers)
    made = (tmp_path / "out" / "text.en").read_text(encoding="utf-8")
    assert made == "".join(f"{line[::-1]}\n" for line in lines)


def test_only_a_few_chunks_are_read_ahead(tmp_path: Path) -> None:
    line_pool = load("line_pool")
    source = tmp_path / "text.en"
    source.write_text("x\n" * 40 * line_pool.CHUNK_LINES)
    with line_pool.LinePool(lambda: len, 1) as pool:
        results: Iterator[int] = pool.results(source, "")
        assert next(results) == line_pool.CHUNK_LINES
        assert len(pool._pool._pending_work_items) <= 5
        assert sum(results) == 39 * line_pool.CHUNK_LINES


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_a_killed_tool_takes_its_workers_along(tmp_path: Path) -> None:
    source = tmp_path / "text.en"
    source.write_text("A man's dog, and (perhaps) a cat.\n" * 100_000)
    (tmp_path / "out").mkdir()
    command = [
        sys.executable,
        SCRIPTS / "tool.py",
        "moses",
        "tokenize",
        "--workers",
        "2",
        "--out-dir",
        tmp_path / "out",
    ]
    process = subprocess.Popen([*map(str, command), str(source)], stderr=subprocess.DEVNULL)
    wait_until(lambda: len(children(process.pid)) == 2, lambda: process.poll() is None)
    workers = children(process.pid)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(Path(f"/proc/{worker}/status").exists() for worker in workers))


# BPE


def test_bpe_equals_subword_nmt(tmp_path: Path) -> None:
    texts = {"text.de": "der Hund und der Hunger\nlower\xa0Hund\n" * 40, "text.en": "the lower lowest dog\n" * 90}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = [tmp_path / name for name in texts]
    (tmp_path / "out").mkdir()
    learned = tool("recipes.text.bpe", "learn", "--workers", 2, "--codes", tmp_path / "codes", "--merges", 15, *files)
    applied = tool("recipes.text.bpe", "apply", "--codes", tmp_path / "codes", "--out-dir", tmp_path / "out", *files)
    assert (learned.returncode, learned.stdout + learned.stderr) == (0, "")
    assert (applied.returncode, applied.stdout + applied.stderr) == (0, "")
    command = str(Path(sys.executable).with_name("subword-nmt"))
    codes = subprocess.run(
        [command, "learn-bpe", "-s", "15"], input="".join(texts.values()).encode(), capture_output=True, check=True
    )
    assert (tmp_path / "codes").read_bytes() == codes.stdout
    for name, text in texts.items():
        subwords = subprocess.run(
            [command, "apply-bpe", "-c", str(tmp_path / "codes")], input=text.encode(), capture_output=True, check=True
        )
        assert (tmp_path / "out" / name).read_bytes() == subwords.stdout


def test_fewer_merges_than_asked_for_are_told(tmp_path: Path) -> None:
    (tmp_path / "text.en").write_text("ab ab abc\n")
    result = tool("recipes.text.bpe", "learn", "--codes", tmp_path / "codes", "--merges", 50, tmp_path / "text.en")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "bpe: fewer than 50 merges: no pair has frequency >= 2. Stopping\n"


@pytest.mark.parametrize("text", ["我 爱 你\n你 爱 我\n", "ab cd\n", " \n"])
def test_text_in_which_there_is_nothing_to_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Words of one character, pairs that stand there once, no word."""
    (tmp_path / "text.zh").write_text(text, encoding="utf-8")
    options = ("learn", "--codes", tmp_path / "codes", "--merges", 5, tmp_path / "text.zh")
    assert "there is nothing to merge" in refused("bpe", *options, monkeypatch=monkeypatch)


def test_merges_equal_subword_nmt_where_it_goes_back_to_all_counts(tmp_path: Path) -> None:
    """With so many merges subword-nmt prunes its counts and copies them anew."""
    words = ["".join("abcdef"[number // 6**place % 6] for place in range(4)) for number in range(6**4)]
    text = "".join(f"{word}\n" * (2 + number % 7) for number, word in enumerate(words))
    (tmp_path / "text.en").write_text(text)
    tool("recipes.text.bpe", "learn", "--codes", tmp_path / "codes", "--merges", 400, tmp_path / "text.en")
    command = [str(Path(sys.executable).with_name("subword-nmt")), "learn-bpe", "-s", "400"]
    codes = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    assert (tmp_path / "codes").read_bytes() == codes.stdout


def test_the_cache_of_words_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bpe = load("bpe")
    monkeypatch.setattr(bpe, "CACHED_WORDS", 2)
    (tmp_path / "codes").write_text("#version: 0.2\na b</w>\n")
    apply = bpe.applier(tmp_path / "codes")
    assert [apply([word]) for word in ("ab", "cab", "dab", "eab")] == [["ab"], ["c@@ ab"], ["d@@ ab"], ["e@@ ab"]]


# The dictionary


@pytest.mark.parametrize(
    "text",
    [
        "madeupword0000 madeupword0002 b a\nmadeupword0002 é\n",
        "<s> <pad> </s> <unk> <unk>\n",
        "b a c a c b\nab\u00a0ba \ufeff a\0 a\0\n\n#fairseq:overwrite 7 \U0001f600 ｆ\n",
        " \n",
        " ".join(f"w{number}" for number in range(12)) + "\n",
    ],
    ids=["padding", "special", "odd", "nothing", "full"],
)
def test_dictionary_equals_that_of_fairseq(tmp_path: Path, text: str) -> None:
    from fairseq.data import Dictionary
    from fairseq.tokenizer import tokenize_line

    (tmp_path / "text").write_text(text, encoding="utf-8")
    load("binarize").write_dictionary([tmp_path / "text"], tmp_path / "made", 1)
    expected = Dictionary()
    Dictionary.add_file_to_dictionary(str(tmp_path / "text"), expected, tokenize_line, 1)
    expected.finalize(padding_factor=8)
    expected.save(str(tmp_path / "expected"))
    assert (tmp_path / "made").read_bytes() == (tmp_path / "expected").read_bytes()
    assert Dictionary.load(str(tmp_path / "made")).symbols == expected.symbols


# Cleaning


def clean(tmp_path: Path, *pairs: tuple[str, str]) -> list[str]:
    """Return the German lines that are kept of at most 3 tokens."""
    for lang, side in (("de", 0), ("en", 1)):
        (tmp_path / f"x.{lang}").write_text("".join(f"{pair[side]}\n" for pair in pairs))
    (tmp_path / "out").mkdir()
    result = tool(
        "recipes.text.clean_parallel", "--langs", "de", "en", "--max", 3, "--out-dir", tmp_path / "out", tmp_path / "x"
    )
    assert (result.returncode, result.stderr) == (0, "")
    return (tmp_path / "out" / "x.de").read_text().split("\n")[:-1]


def test_pairs_that_are_kept(tmp_path: Path) -> None:
    """By the rules of clean-corpus-n.perl: tokens a side, ratio up to 1.5, words up to 1,000 characters."""
    kept = clean(
        tmp_path,
        ("a b", "a b c"),
        ("a b c d", "a b c"),
        ("a", "a b"),
        ("", "a"),
        ("  b   c ", "a b"),
        ("x" * 1000, "a"),
        ("x" * 1001, "a"),
    )
    assert kept == ["a b", "b c", "x" * 1000]


def test_no_pair_kept_is_an_error(tmp_path: Path) -> None:
    for lang in ("de", "en"):
        (tmp_path / f"x.{lang}").write_text("a b c d\n")
    (tmp_path / "out").mkdir()
    result = tool(
        "recipes.text.clean_parallel", "--langs", "de", "en", "--max", 3, "--out-dir", tmp_path / "out", tmp_path / "x"
    )
    assert result.returncode != 0
    assert result.stderr == "x: none of its 1 pairs has 1 to 3 tokens a side and a ratio in range\n"


# Downloads


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
        result = tool("recipes.data.fetch", "--out-dir", tmp_path, f"x.tgz={address}")
        assert result.returncode != 0
        assert result.stderr.startswith(f"cannot download {address} (")
        assert result.stderr.count("\n") == 1
        assert not (tmp_path / "x.tgz").exists()
        monkeypatch.setattr(Ranged, "short", 0)
        assert tool("recipes.data.fetch", "--out-dir", tmp_path, f"x.tgz={address}").returncode == 0
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


def refused(name: str, *arguments: object, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the line with which a tool exits, run in this process."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    with pytest.raises(SystemExit) as error:
        load(name).main()
    assert isinstance(error.value.code, str) and "\n" not in error.value.code
    return error.value.code


@pytest.mark.parametrize(
    ("left", "answers", "asked"),
    [
        # What was left is whole: the server has nothing more.
        (DATA, [(416, {"Content-Range": "bytes */1000"}, b"")], ["bytes=1000-"]),
        # It is longer than the file, or the server does not say how long that is.
        (DATA + b"x", [(416, {"Content-Range": "bytes */1000"}, b""), (200, {}, DATA)], ["bytes=1001-", None]),
        (DATA, [(416, {}, b""), (200, {}, DATA)], ["bytes=1000-", None]),
        # The server begins anew, says that it begins elsewhere, or goes on.
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
    load("fetch").fetch(f"{scripted}/x.tgz", tmp_path / "x.tgz", None, "")
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
def test_what_cannot_be_used_is_fetched_anew(
    tmp_path: Path, scripted: str, name: str, left: bytes, answers: list[Answer], message: str
) -> None:
    fetch = load("fetch").fetch
    sums = tmp_path / "sums"
    sums.write_text(f"{hashlib.sha256(GZ).hexdigest()}  sum.gz\n")
    if left:
        (tmp_path / f"{name}.download").write_bytes(left)
    Scripted.answers[:] = answers
    with pytest.raises(SystemExit) as error:
        fetch(f"{scripted}/{name}", tmp_path / "made", sums, "pass it")
    line = str(error.value)
    assert message.replace("{}", scripted) in line and "\n" not in line
    # Bytes that were wrong are still there, by another name, and the line says that.
    assert ("run again to fetch it anew" in line) == (tmp_path / f"{name}.broken").exists() == ("cannot" not in line)
    whole = DATA if name == "x.tgz" else GZ
    had = tmp_path / f"{name}.download"
    have = had.stat().st_size if had.exists() else 0
    Scripted.answers[:] = [(206 if 0 < have < len(whole) else 200, {}, whole[have:] if have < len(whole) else whole)]
    fetch(f"{scripted}/{name}", tmp_path / "made", sums, "")
    assert (tmp_path / "made").read_bytes() == DATA
    assert not had.exists()


def links(archive: Path) -> Path:
    """Write an archive with links of both kinds that lead nowhere, and a text."""
    with tarfile.open(archive, "w") as tar:
        for name, kind in (("a", tarfile.SYMTYPE), ("b", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "../nowhere"
            tar.addfile(link)
        text = tarfile.TarInfo("c/x.de")
        text.size = 4
        tar.addfile(text, io.BytesIO(b"eins"))
    return archive


def test_links_in_an_archive_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["extract", str(links(tmp_path / "x.tar")), "c/x.de=x.de", "--out-dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    load("extract").main()
    assert (tmp_path / "x.de").read_text() == "eins"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda archive: archive.write_bytes(PAGE), "not a whole archive (Not a gzipped file"),
        (lambda archive: archive.write_bytes(archive.read_bytes()[:-20]), "not a whole archive (Compressed file ended"),
        (lambda archive: pack(archive, {"d/y.de": "x"}), "the archive has no d/x.de"),
    ],
)
@pytest.mark.parametrize("fetched", [True, False])
def test_an_archive_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], object], message: str, fetched: bool
) -> None:
    """One that was fetched gets another name, so that it is fetched anew; one of the user's stays as it is."""
    archive = pack(tmp_path / "x.tgz", {"d/x.de": "eins\n" * 99})
    spoil(archive)
    before = archive.read_bytes()
    options = ["--out-dir", tmp_path, *(["--fetched"] if fetched else [])]
    line = refused("extract", archive, "d/x.de=x.de", *options, monkeypatch=monkeypatch)
    assert line.startswith(f"{archive}: {message}")
    assert line.endswith("; it is now x.tgz.broken, run again to fetch it anew") == fetched
    assert archive.exists() != fetched
    assert (tmp_path / ("x.tgz.broken" if fetched else "x.tgz")).read_bytes() == before


# Checks


def test_line_ends_are_made_plain(tmp_path: Path) -> None:
    (tmp_path / "x.de").write_bytes("eins\r\nzwei\u2028\r\n".encode())
    (tmp_path / "x.en").write_bytes(b"one\ntwo")
    (tmp_path / "out").mkdir()
    result = tool("recipes.text.check_parallel", "--langs", "de", "en", "--out-dir", tmp_path / "out", tmp_path / "x")
    assert (result.returncode, result.stdout) == (0, "x: 2 pairs\n")
    assert (tmp_path / "out" / "x.de").read_bytes() == "eins\nzwei\u2028\n".encode()
    assert (tmp_path / "out" / "x.en").read_bytes() == b"one\ntwo\n"


def test_many_empty_lines_are_counted(tmp_path: Path) -> None:
    (tmp_path / "x.de").write_text("ja\n" + "\n" * 8)
    (tmp_path / "x.en").write_text("yes\n" * 9)
    (tmp_path / "out").mkdir()
    result = tool("recipes.text.check_parallel", "--langs", "de", "en", "--out-dir", tmp_path / "out", tmp_path / "x")
    assert result.stderr == "x.de: nothing on line 2, 3, 4, 5, 6 and 3 more\n"


def check(tmp_path: Path, texts: dict[str, bytes], *options: object) -> subprocess.CompletedProcess[str]:
    """Run check_parallel on the two sides of x, with its result in `out`."""
    (tmp_path / "out").mkdir()
    for lang, text in texts.items():
        (tmp_path / f"x.{lang}").write_bytes(text)
    return tool(
        "recipes.text.check_parallel", "--langs", *texts, "--out-dir", tmp_path / "out", *options, tmp_path / "x"
    )


def test_pairs_with_an_empty_side_can_go(tmp_path: Path) -> None:
    texts = {"de": b"a\n \t\nc\nd\n\n", "en": b"A\nB\n\xc2\xa0\nD\n\n"}
    result = check(tmp_path, texts, "--drop-empty")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "x: 2 pairs; 3 of 5 left out, for they had nothing on a side\n"
    assert (tmp_path / "out" / "x.de").read_bytes() == b"a\nd\n"
    assert (tmp_path / "out" / "x.en").read_bytes() == b"A\nD\n"
    options = ("--langs", "de", "en", "--out-dir", tmp_path / "out", "--drop-empty", "--lines")
    assert tool("recipes.text.check_parallel", *options, 2, tmp_path / "x").returncode == 0
    result = tool("recipes.text.check_parallel", *options, 3, tmp_path / "x")
    assert result.stderr == "x.de has 2 pairs with text on both sides, fewer than the 3 asked for\n"


def test_a_byte_order_mark_can_go(tmp_path: Path) -> None:
    texts = {"de": "\ufeffeins\n\ufeffzwei\n".encode(), "en": b"one\ntwo\n"}
    result = check(tmp_path, texts, "--drop-bom")
    assert result.stdout == "x.de: the byte order mark at its start is left out\nx: 2 pairs\n"
    assert (tmp_path / "out" / "x.de").read_bytes() == "eins\n\ufeffzwei\n".encode()
    assert (
        tool(
            "recipes.text.check_parallel", "--langs", "de", "en", "--out-dir", tmp_path / "out", tmp_path / "x"
        ).returncode
        == 0
    )
    assert (tmp_path / "out" / "x.de").read_bytes() == texts["de"]  # published text stays as it is


@pytest.mark.parametrize(
    ("german", "message"),
    [
        (b"a\nb\0c\n", "x.de: line 2 holds a NUL byte: is it UTF-8?"),
        ("a\nb\n".encode("utf-16"), "x.de: line 1 is not UTF-8 (byte 0xff at position 1)"),
        ("a\nb\n".encode("utf-16-be"), "x.de: line 1 holds a NUL byte: is it UTF-8?"),
        (b"a\nb\xc3\n", "x.de: line 2 is not UTF-8 (byte 0xc3 at position 2)"),
        (b"\n\n", "x: none of its 2 pairs has text on both sides"),
    ],
)
def test_text_that_is_refused(tmp_path: Path, german: bytes, message: str) -> None:
    result = check(tmp_path, {"de": german, "en": b"A\nB\n"}, "--drop-empty", "--drop-bom")
    assert (result.returncode, result.stderr) == (1, f"{message}\n")


def test_only_newlines_end_a_line(tmp_path: Path) -> None:
    result = check(tmp_path, {"de": "a\rb\r\r\nc\x0bd\x85\u2028e".encode(), "en": b"A\nB\n"})
    assert result.stdout == "x: 2 pairs\n"
    assert (tmp_path / "out" / "x.de").read_bytes() == "a\rb\nc\x0bd\x85\u2028e\n".encode()


def test_lines_of_no_break_spaces_are_not_made_empty(tmp_path: Path) -> None:
    """Such a line stays for sed and for Moses' Perl scripts; other white space around a text goes."""
    for lang in ("de", "en"):
        segs = ("\u00a0", " \u202f ", " ", " x\u00a0", "\r")
        body = "".join(f'<seg id="{number}">{seg}</seg>\n' for number, seg in enumerate(segs))
        (tmp_path / f"test.xml.{lang}").write_text(body, encoding="utf-8", newline="\n")
        (tmp_path / f"train.{lang}").write_text("<url>\n\u00a0\n \n x \n", encoding="utf-8")
    pairs = load("parallel").pairs
    assert [one for one, _ in pairs(tmp_path / "test.xml", ("de", "en"))] == ["\u00a0", "\u202f", "", "x", ""]
    assert [one for one, _ in pairs(tmp_path / "train", ("de", "en"), notes=["<url>"])] == ["\u00a0", "", "x"]
    assert load("moses").tokenizer("de")(["\u00a0"]) == ["\u00a0"]


def test_a_gz_that_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "x.de.gz").write_bytes(b"\x1f\x8b\x08\x00")
    result = tool("recipes.data.fetch", "--out-dir", tmp_path, f"x.de={tmp_path}/x.de.gz")
    assert result.returncode != 0
    assert result.stderr.startswith(f"{tmp_path}/x.de.gz: not a whole .gz file (")


def test_an_unreachable_address(tmp_path: Path) -> None:
    result = tool("recipes.data.fetch", "--out-dir", tmp_path, "x.de=http://127.0.0.1:1/x.de.gz")
    assert result.returncode != 0
    assert result.stderr.startswith("cannot download http://127.0.0.1:1/x.de.gz (")
    assert result.stderr.count("\n") == 1


# Workers that the system ends or does not allow


FEW_PROCESSES = """
import errno, os, sys
fork, left = os.fork, [2]
def limited():
    left[0] -= 1
    if left[0] < 0:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return fork()
os.fork = limited
from recipes.text import line_pool
from pathlib import Path
line_pool.map_files(lambda: list, [Path("x")], Path("out"), 5)
"""


def test_fewer_processes_than_workers_end_in_one_line() -> None:
    """As under `ulimit -u`: no worker is left for Python to wait for."""
    command = [sys.executable, "-c", FEW_PROCESSES]
    env = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=HANG)
    message = "cannot start 5 processes: [Errno 11] Resource temporarily unavailable; give fewer with --workers\n"
    assert (result.returncode, result.stderr) == (1, message)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_fairseq_does_not_wait_for_a_worker_that_was_killed() -> None:
    pool = load("preprocess").Pool(2)
    result = pool.apply_async(killed, (), {})
    pool.close()
    pool.join()
    with pytest.raises(BrokenProcessPool):
        result.get()


@pytest.fixture
def binarized(tmp_path: Path) -> tuple[Path, Path]:
    """A text of three lines, and the prefix of what fairseq makes of it."""
    text, data = tmp_path / "text", tmp_path / "data"
    text.write_text("a b\nc\n\n")
    builder = indexed_dataset.make_builder(f"{data}.bin", impl="mmap", vocab_size=100)
    for sentence in ([4, 5, 2], [6, 2], [2]):
        builder.add_item(torch.tensor(sentence))
    builder.finalize(f"{data}.idx")
    return text, data


def test_whole_data_is_accepted(binarized: tuple[Path, Path]) -> None:
    load("preprocess").check(binarized[0], str(binarized[1]))


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        ("text", b"a b\n", "data: 3 sentences of the 1 lines of "),
        ("data.bin", b"\4\0\5\0\2\0\6\0\2\0", "data.bin: 10 bytes, but its index says 12"),
    ],
)
def test_data_that_is_not_that_of_the_text_is_refused(
    binarized: tuple[Path, Path], file: str, data: bytes, message: str
) -> None:
    (binarized[0].parent / file).write_bytes(data)
    with pytest.raises(SystemExit, match=message):
        load("preprocess").check(binarized[0], str(binarized[1]))


def test_a_text_with_fewer_lines_than_its_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a\nb\n")
    (tmp_path / "out").mkdir()
    with pytest.raises(SystemExit, match="out/x: 1 lines made of the 2 of "):
        load("line_pool").map_files(lambda: lambda lines: lines[1:], [tmp_path / "x"], tmp_path / "out", 1)


# Numbers on the command line


@pytest.mark.parametrize("kind", ["positive", "natural"])
def test_integers_have_a_bound(kind: str) -> None:
    read = getattr(load("arguments"), kind)
    assert [read(text) for text in ("1", "007", str(2**31 - 1))] == [1, 7, 2**31 - 1]
    for text in (str(2**31), "9" * 20, "1" * 5000):
        with pytest.raises(argparse.ArgumentTypeError, match="must be an integer up to 2147483647, not '"):
            read(text)
    for text in ("", "-1", "1.5", "1_000", "²", "٣", " 1", "many", *(["0", "00"] if kind == "positive" else [])):
        with pytest.raises(argparse.ArgumentTypeError, match=rf"must be an? .*integer.*, not '{text}'"):
            read(text)
    if kind == "natural":
        assert read("00") == 0


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("check_parallel", ["--lines", "9" * 20, "x"], "check_parallel: argument --lines: must be an integer up to"),
        ("clean_parallel", ["--max", "0", "x"], "clean_parallel: argument --max: must be a positive integer, not '0'"),
        (
            "join_parallel",
            ["--every", "x", "x"],
            "join_parallel: argument --every: must be a positive integer, not 'x'",
        ),
        ("bpe", ["learn", "--merges", "9" * 20, "x"], "bpe learn: argument --merges: must be an integer up to"),
        ("bpe", ["apply", "--workers", "²", "x"], "bpe apply: argument --workers: must be a positive integer, not '²'"),
        ("wikitext", ["copy", "wikitext-2", "x", "--train-lines", "-1"], "wikitext: argument --train-lines: "),
        ("fetch", ["x"], "fetch: the following arguments are required: --out-dir"),
        ("extract", ["x"], "extract: the following arguments are required: MEMBER=NAME, --out-dir"),
    ],
)
def test_a_bad_value_is_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, arguments: list[str], message: str
) -> None:
    assert refused(name, *arguments, monkeypatch=monkeypatch).startswith(message)
