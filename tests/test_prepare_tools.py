"""The Python tools under scripts/ that the prepare scripts share: Moses tokens, BPE, checks, the pool of workers."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SCRIPTS))


def tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / "tool.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


# Moses tokens


@pytest.mark.parametrize(
    ("lang", "raw", "tokens"),
    [
        ("en", "A man's dog isn't wet.", "A man 's dog isn 't wet ."),
        ("en", 'He said "no" (twice), for $5.50!', 'He said " no " ( twice ) , for $ 5.50 !'),
        ("en", "A well-known | [x] & more.", "A well-known | [ x ] & more ."),
        ("en", "He lives in the U.S.A.", "He lives in the U.S.A ."),
        ("en", "The U.S. team waits...", "The U.S. team waits ..."),
        ("de", "Am 3. Mai, z.B. um 12.30 Uhr.", "Am 3. Mai , z.B. um 12.30 Uhr ."),
        ("de", "Das „Haus“ ist groß.", "Das „ Haus “ ist groß ."),
        ("fr", "L'homme qu'elle voit.", "L' homme qu' elle voit ."),
    ],
)
def test_tokens_and_back(lang: str, raw: str, tokens: str) -> None:
    moses = load("moses")
    assert moses.tokenizer(lang)([raw]) == [tokens]
    assert moses.detokenizer(lang)([tokens]) == [raw]


def test_white_space_becomes_one_space() -> None:
    assert load("moses").tokenizer("de")([" ein\tgroßer\u00a0\u2028Hund "]) == ["ein großer Hund"]


def test_the_language_is_the_ending(tmp_path: Path) -> None:
    for lang in ("de", "fr"):
        (tmp_path / f"x.{lang}").write_text("l'eau\n")
    (tmp_path / "out").mkdir()
    result = tool("moses", "tokenize", "--out-dir", tmp_path / "out", tmp_path / "x.fr", tmp_path / "x.de")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "x.fr").read_text() == "l' eau\n"
    assert (tmp_path / "out" / "x.de").read_text() == "l ' eau\n"


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
    limit = time.monotonic() + 120
    while len(workers := children(process.pid)) < 2:
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while any(Path(f"/proc/{worker}/status").exists() for worker in workers):
        assert time.monotonic() < limit, "a worker outlived its parent"
        time.sleep(0.02)


# BPE


def test_bpe_equals_subword_nmt(tmp_path: Path) -> None:
    texts = {"text.de": "der Hund und der Hunger\nlower\xa0Hund\n" * 40, "text.en": "the lower lowest dog\n" * 90}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = [tmp_path / name for name in texts]
    (tmp_path / "out").mkdir()
    learned = tool("bpe", "learn", "--workers", 2, "--codes", tmp_path / "codes", "--merges", 15, *files)
    applied = tool("bpe", "apply", "--codes", tmp_path / "codes", "--out-dir", tmp_path / "out", *files)
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
    result = tool("bpe", "learn", "--codes", tmp_path / "codes", "--merges", 50, tmp_path / "text.en")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "bpe: fewer than 50 merges: no pair has frequency >= 2. Stopping\n"


# Checks


def test_line_ends_are_made_plain(tmp_path: Path) -> None:
    (tmp_path / "x.de").write_bytes("eins\r\nzwei\u2028\r\n".encode())
    (tmp_path / "x.en").write_bytes(b"one\ntwo")
    (tmp_path / "out").mkdir()
    result = tool("check_parallel", "--langs", "de", "en", "--out-dir", tmp_path / "out", tmp_path / "x")
    assert (result.returncode, result.stdout) == (0, "x: 2 pairs\n")
    assert (tmp_path / "out" / "x.de").read_bytes() == "eins\nzwei\u2028\n".encode()
    assert (tmp_path / "out" / "x.en").read_bytes() == b"one\ntwo\n"


def test_many_empty_lines_are_counted(tmp_path: Path) -> None:
    (tmp_path / "x.de").write_text("ja\n" + "\n" * 8)
    (tmp_path / "x.en").write_text("yes\n" * 9)
    (tmp_path / "out").mkdir()
    result = tool("check_parallel", "--langs", "de", "en", "--out-dir", tmp_path / "out", tmp_path / "x")
    assert result.stderr == "x.de: nothing on line 2, 3, 4, 5, 6 and 3 more\n"


def test_a_gz_that_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "x.de.gz").write_bytes(b"\x1f\x8b\x08\x00")
    result = tool("fetch", "--out-dir", tmp_path, f"x.de={tmp_path}/x.de.gz")
    assert result.returncode != 0
    assert result.stderr.startswith(f"{tmp_path}/x.de.gz: not a whole .gz file (")


def test_an_unreachable_address(tmp_path: Path) -> None:
    result = tool("fetch", "--out-dir", tmp_path, "x.de=http://127.0.0.1:1/x.de.gz")
    assert result.returncode != 0
    assert result.stderr.startswith("cannot download http://127.0.0.1:1/x.de.gz (")
    assert result.stderr.count("\n") == 1
