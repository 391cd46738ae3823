"""The Python tools under scripts/ that the prepare scripts share: Moses tokens, BPE, checks, the pool of workers."""

import http.server
import importlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest
from waiting import HANG, wait_until

SCRIPTS = Path(__file__).parents[1] / "scripts"


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SCRIPTS))


def tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / "tool.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG)


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


@pytest.mark.parametrize(
    ("lang", "raw", "tokens"),
    [
        ("en", 'It\'s "A & B" | [x] <b>', "It &apos;s &quot; A &amp; B &quot; &#124; &#91; x &#93; &lt; b &gt;"),
        ("de", "Es gilt 5,", "Es gilt 5 ,"),
        ("en", "the 'quoted.'", "the &apos; quoted . &apos; "),
        ("en", "Wait.. and 攻殻機動隊 a.中 b", "Wait .. and 攻殻機動隊 a.中 b"),
        ("en", "a\x1cb\x1f \x07c", "ab c"),
    ],
)
def test_tokens_with_entities_as_perl_writes_them(lang: str, raw: str, tokens: str) -> None:
    """What tokenizer.perl of Moses printed for these lines."""
    moses = load("moses")
    assert moses.tokenizer(lang, moses.Rules(escape=True))([raw]) == [tokens]


def test_entities_and_back() -> None:
    moses = load("moses")
    raw = 'He said "yes" & left.'
    tokens = moses.tokenizer("en", moses.Rules(escape=True))([raw])
    assert moses.detokenizer("en", escaped=True)(tokens) == [raw]


@pytest.mark.parametrize(
    ("lang", "raw", "normal"),
    [
        ("en", "He said \u201cyes\u201d, then \u2018no\u2019.", 'He said "yes," then \'no."'),
        ("de", "Er sagte: \u201eJa.\u201c", 'Er sagte: "Ja".'),
        ("fr", "\u00ab\u00a0Oui\u00a0!\u00a0\u00bb (\u00a01\u00a0000\u00a0)", '"Oui!" (\u00a01,000\u00a0) '),
        ("en", "a\tb\u00adc  d ( e )", "a b c d (e) "),
    ],
)
def test_normalized_as_perl_does(lang: str, raw: str, normal: str) -> None:
    """What normalize-punctuation.perl and remove-non-printing-char.perl of Moses printed for these lines."""
    assert load("moses").normalizer(lang)([raw]) == [normal]


def test_lower_case_equals_perl_on_every_character() -> None:
    """Perl's lc, of the same Unicode as Python, gave this: each character by itself, the sigma never final."""
    moses = load("moses")
    assert moses.lower(["ΑΣ ΑΣΑ Σ"]) == ["ασ ασα σ"]
    assert moses.lower(["İI"]) == ["i\u0307i"]


@pytest.mark.skipif(not shutil.which("perl"), reason="needs perl")
def test_lines_that_differ_from_perl_are_counted(tmp_path: Path) -> None:
    """Stand-ins for Moses' scripts that give the tokens which all make of the first line."""
    scripts = tmp_path / "scripts" / "tokenizer"
    scripts.mkdir(parents=True)
    for name in ("normalize-punctuation", "remove-non-printing-char"):
        (scripts / f"{name}.perl").write_text("print while (<STDIN>)")
    (scripts / "tokenizer.perl").write_text("while (<STDIN>) { s/\\.$/ ./; print }")
    (tmp_path / "x.en").write_text("A dog.\nIn the U.S.\nA well-known dog.\n")
    command = [sys.executable, SCRIPTS.parent / "benchmarks" / "moses_lines.py", "--moses", tmp_path, tmp_path / "x.en"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[2] == "| x.en | 3 | 0 | 1 | 1 |"


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


def test_merges_equal_subword_nmt_where_it_goes_back_to_all_counts(tmp_path: Path) -> None:
    """With so many merges subword-nmt prunes its counts and copies them anew."""
    words = ["".join("abcdef"[number // 6**place % 6] for place in range(4)) for number in range(6**4)]
    text = "".join(f"{word}\n" * (2 + number % 7) for number, word in enumerate(words))
    (tmp_path / "text.en").write_text(text)
    tool("bpe", "learn", "--codes", tmp_path / "codes", "--merges", 400, tmp_path / "text.en")
    command = [str(Path(sys.executable).with_name("subword-nmt")), "learn-bpe", "-s", "400"]
    codes = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    assert (tmp_path / "codes").read_bytes() == codes.stdout


def test_the_cache_of_words_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bpe = load("bpe")
    monkeypatch.setattr(bpe, "CACHED_WORDS", 2)
    (tmp_path / "codes").write_text("#version: 0.2\na b</w>\n")
    apply = bpe.applier(tmp_path / "codes")
    assert [apply([word]) for word in ("ab", "cab", "dab", "eab")] == [["ab"], ["c@@ ab"], ["d@@ ab"], ["e@@ ab"]]


# Cleaning


def clean(tmp_path: Path, *pairs: tuple[str, str]) -> list[str]:
    """Return the German lines that are kept of at most 3 tokens."""
    for lang, side in (("de", 0), ("en", 1)):
        (tmp_path / f"x.{lang}").write_text("".join(f"{pair[side]}\n" for pair in pairs))
    (tmp_path / "out").mkdir()
    result = tool("clean_parallel", "--langs", "de", "en", "--max", 3, "--out-dir", tmp_path / "out", tmp_path / "x")
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
    result = tool("clean_parallel", "--langs", "de", "en", "--max", 3, "--out-dir", tmp_path / "out", tmp_path / "x")
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
        result = tool("fetch", "--out-dir", tmp_path, f"x.tgz={address}")
        assert result.returncode != 0
        assert result.stderr.startswith(f"cannot download {address} (")
        assert result.stderr.count("\n") == 1
        assert not (tmp_path / "x.tgz").exists()
        monkeypatch.setattr(Ranged, "short", 0)
        assert tool("fetch", "--out-dir", tmp_path, f"x.tgz={address}").returncode == 0
        httpd.shutdown()
    assert (tmp_path / "x.tgz").read_bytes() == Ranged.data
    assert Ranged.asked == [None, "bytes=700-"]
    assert {path.name for path in tmp_path.iterdir()} == {"x.tgz"}


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
