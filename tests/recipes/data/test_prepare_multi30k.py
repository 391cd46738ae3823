"""scripts/prepare_multi30k.sh, from made-up captions to binarized data: whole, killed, and on bad input."""

import functools
import gzip
import hashlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import prepare
from support.prepare import SCRIPTS, at_work, content, environment, interrupted, is_gone, started, stub_fairseq
from support.waiting import wait_until

NAMES = ("train", "valid", "test_2016_flickr", "test_2017_flickr")
# A tab, a no-break space and characters at which str.splitlines would break a line, inside one line each.
ODD = ("ein\tHund", "ein\u00a0Hund", "ein\u2028Hund", "ein\u0085Hund", "ein\x1cHund", "ein\x0bHund")


def captions(lang: str, name: str, count: int) -> list[str]:
    """Return made-up captions; line i of one language belongs to line i of the other."""
    nouns = {"de": ["Hund", "Mann", "Ball", "Fluss"], "en": ["dog", "man", "ball", "river"]}[lang]
    words = {"de": "Der {} (Nr. {}) sieht den {} & lacht.", "en": "The {} (no. {}) sees the {} & laughs."}[lang]
    lines = [words.format(nouns[i % 4], i, nouns[i // 4 % 4]) for i in range(count)]
    return [*ODD, *lines[len(ODD) :]] if (lang, name) == ("de", "train") else lines


def write(folder: Path) -> Path:
    """Write an uncompressed source folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        for lang in ("de", "en"):
            lines = captions(lang, name, 60 if name == "train" else 12)
            (folder / f"{name}.{lang}").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source")


SCRIPT = "prepare_multi30k.sh"
command, run = functools.partial(prepare.command, SCRIPT), functools.partial(prepare.run, SCRIPT)
refused = functools.partial(prepare.refused, SCRIPT)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """One uninterrupted run: its source, its result and what it printed."""
    folder = tmp_path_factory.mktemp("whole")
    source = write(folder / "source")
    result = run("--from", source, "--out", folder / "out")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return source, folder / "out", result.stdout


@pytest.fixture
def no_fairseq(tmp_path: Path) -> str:
    """A PYTHONPATH on which the last step takes no time, for runs that are about the steps before it."""
    return stub_fairseq(tmp_path)


@pytest.fixture
def published(tmp_path: Path, source: Path) -> tuple[Path, Path]:
    """A folder with the published form of the source, and scripts whose table of checksums is made for it."""
    folder = tmp_path / "published"
    folder.mkdir()
    sums = []
    extra = {
        f"{name}.{lang}": source / f"valid.{lang}"
        for name in ("test_2017_mscoco", "test_2018_flickr")
        for lang in ("de", "en")
    }
    for name, path in {**{path.name: path for path in source.iterdir()}, **extra}.items():
        packed = folder / f"{name.replace('valid', 'val')}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        sums.append(f"{hashlib.sha256(packed.read_bytes()).hexdigest()}  {packed.name}\n")
    scripts = tmp_path / "repository" / "scripts"
    shutil.copytree(SCRIPTS, scripts)
    (scripts / "checksums" / "multi30k.sha256").write_text("".join(sums))
    return folder, scripts


def set_address(scripts: Path, address: str) -> None:
    script = scripts / "prepare_multi30k.sh"
    lines = script.read_text().splitlines()
    script.write_text("\n".join(f"address={address}" if line.startswith("address=") else line for line in lines) + "\n")


# From raw text to binarized data


def test_layout(whole: tuple[Path, Path, str]) -> None:
    _, out, printed = whole
    binarized = {
        f"{split}.de-en.{lang}.{end}"
        for split in ("train", "valid", "test", "test1")
        for lang in ("de", "en")
        for end in ("bin", "idx")
    }
    texts = {f"{name}.{lang}" for name in NAMES for lang in ("de", "en")}
    assert {path.name for path in out.iterdir()} == {
        "raw",
        "tok",
        "bpe",
        "bin",
        "testsets",
        "settings",
        ".prepare.lock",
    }
    assert {path.name for path in (out / "raw").iterdir()} == texts
    assert {path.name for path in (out / "tok").iterdir()} == texts
    assert {path.name for path in (out / "bpe").iterdir()} == texts | {"codes"}
    assert {path.name for path in (out / "bin").iterdir()} == binarized | {
        "dict.de.txt",
        "dict.en.txt",
        "preprocess.log",
    }
    assert (out / "bin" / "dict.de.txt").read_bytes() == (out / "bin" / "dict.en.txt").read_bytes()
    assert (out / "testsets").read_text() == "test_2016_flickr\ntest_2017_flickr\n"
    assert (
        (out / "settings")
        .read_text()
        .startswith("script: prepare_multi30k.sh\npair: de-en\ntrain-lines: all\nbpe: 40\ntrain.de: ")
    )
    assert f"The data is in {out}/bin" in printed
    assert "scripts/train.sh configs/multi30k_deen/rdrop.yaml" in printed


def test_raw_is_the_source(whole: tuple[Path, Path, str]) -> None:
    source, out, _ = whole
    assert content(out / "raw") == content(source)


def test_each_line_stays_one_line(whole: tuple[Path, Path, str]) -> None:
    _, out, _ = whole
    lines = (out / "tok" / "train.de").read_text(encoding="utf-8").split("\n")
    # tokenizer.perl deletes control characters that are no white space for it.
    assert lines[: len(ODD)] == ["einHund" if "\x1c" in line else "ein Hund" for line in ODD]
    assert lines[len(ODD)] == "Der Ball ( Nr. 6 ) sieht den Mann & lacht ."
    for name in NAMES:
        for lang in ("de", "en"):
            count = 60 if name == "train" else 12
            assert (out / "bpe" / f"{name}.{lang}").read_bytes().count(b"\n") == count
            assert f"bpe/{name}.{lang}: {count} sents" in (out / "bin" / "preprocess.log").read_text()


def test_train_lines_and_pair(tmp_path: Path, source: Path, no_fairseq: str) -> None:
    out = tmp_path / "an, out"
    result = run("--from", source, "--pair", "en-de", "--train-lines", "20", "--out", out, PYTHONPATH=no_fairseq)
    assert result.returncode == 0, result.stderr
    for lang in ("de", "en"):
        head = (source / f"train.{lang}").read_bytes().split(b"\n")[:20]
        assert (out / "raw" / f"train.{lang}").read_bytes() == b"\n".join(head) + b"\n"
        assert (out / "raw" / f"valid.{lang}").read_bytes() == (source / f"valid.{lang}").read_bytes()
    assert "configs/multi30k_ende/rdrop.yaml" in result.stdout


def test_published_form_equals_uncompressed(
    whole: tuple[Path, Path, str], tmp_path: Path, published: tuple[Path, Path], no_fairseq: str
) -> None:
    folder, scripts = published
    result = run("--from", folder, scripts=scripts, PYTHONPATH=no_fairseq)
    assert result.returncode == 0, result.stderr
    assert "no checksum" not in result.stdout
    out = scripts.parent / "data" / "multi30k_deen"
    made, expected = content(out / "bpe"), content(whole[1] / "bpe")
    assert {name: made[name] for name in expected} == expected
    assert (out / "testsets").read_text().split() == [*NAMES[2:], "test_2017_mscoco", "test_2018_flickr"]


def test_download(tmp_path: Path, published: tuple[Path, Path], server: str, no_fairseq: str) -> None:
    folder, scripts = published
    set_address(scripts, f"{server}/{folder.name}")
    result = run("--out", tmp_path / "out", scripts=scripts, PYTHONPATH=no_fairseq)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "raw" / "valid.de").read_bytes() == (tmp_path / "source" / "valid.de").read_bytes()
    assert (tmp_path / "out" / "testsets").read_text().count("\n") == 4
    shutil.rmtree(folder)
    again = run("--out", tmp_path / "out", scripts=scripts, PYTHONPATH=no_fairseq)
    assert again.stdout.count("done before") == 4


def test_help_needs_nothing() -> None:
    result = run("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Usage: scripts/prepare_multi30k.sh" in result.stdout
    assert "set -euo" not in result.stdout


# A second run, a killed run


def test_second_run_skips(whole: tuple[Path, Path, str]) -> None:
    source, out, _ = whole
    before = content(out)
    for options in (["--from", source], []):
        result = run("--out", out, *options)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("done before") == 4
    assert content(out) == before


def test_killed_run_goes_on(whole: tuple[Path, Path, str], tmp_path: Path) -> None:
    source, expected, _ = whole
    out = tmp_path / "out"
    for done, begun in (("", "raw/train.en"), ("raw", "tok"), ("tok", "bpe/codes"), ("bpe", "bin")):
        process = started(
            command("--from", source, "--out", out),
            environment(),
            lambda done=done, begun=begun: (out / done).exists() and at_work(out, begun),  # type: ignore[misc]
        )
        process.kill()  # the script alone
        process.wait()
        wait_until(lambda group=process.pid: is_gone(group))  # type: ignore[misc]
        process.communicate()
        assert not (out / "bin").exists()
        assert (out / "settings").exists() == (out / "testsets").exists() == bool(done)
    result = run("--from", source, "--out", out)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("done before") == 3
    assert content(out) == content(expected)


@pytest.mark.parametrize(
    ("done", "sign"), [("raw", ".part.*/tok/train.de"), ("tok", ".part.*/bpe/codes"), ("bpe", "preprocess.log")]
)
def test_interrupt_is_one_line_and_leaves_no_process(
    whole: tuple[Path, Path, str], tmp_path: Path, source: Path, done: str, sign: str
) -> None:
    """^C while Moses, BPE or fairseq is at work, the first two on a text long enough to catch them."""
    out = tmp_path / "out"
    if done == "bpe":
        shutil.copytree(whole[1], out, ignore=shutil.ignore_patterns("bin"))
    else:
        for lang in ("de", "en"):
            train = source / f"train.{lang}"
            train.write_bytes(train.read_bytes() * (500 if done == "raw" else 50))
    interrupted(
        command("--from", source, "--out", out),
        environment(),
        lambda: (out / done).exists() and any(out.glob(sign)),
    )


def test_two_runs_at_once(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    process = started(command("--from", source, "--out", out), environment(), lambda: at_work(out))
    assert "another run is at work" in refused("--from", source, "--out", out)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize(
    ("options", "made", "now"),
    [
        (["--bpe", "41"], "bpe: 40", "bpe: 41"),
        (["--train-lines", "20"], "train-lines: all", "train-lines: 20"),
        (["--pair", "en-de"], "pair: de-en", "pair: en-de"),
    ],
)
def test_other_settings_are_refused(whole: tuple[Path, Path, str], options: list[str], made: str, now: str) -> None:
    source, out, _ = whole
    before = content(out)
    assert f"was made with {made}, not with {now}; use another --out" in refused(
        "--from", source, "--out", out, *options
    )
    assert content(out) == before


def test_other_text_is_refused(whole: tuple[Path, Path, str], source: Path) -> None:
    with (source / "train.de").open("a") as file:
        file.write("neu\n")
    assert "was made with train.de: " in refused("--from", source, "--out", whole[1])


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, source: Path) -> None:
    precious = tmp_path / "home" / "bin" / "program"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    assert "holds files that no prepare script made" in refused("--from", source, "--out", tmp_path / "home")
    assert content(tmp_path / "home") == {"bin/program": b"mine"}


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pair", "de-cs"], "unknown pair 'de-cs'; there are de-en en-de de-fr fr-de en-fr fr-en"),
        (["--pair", "de-de"], "unknown pair 'de-de'"),
        (["--train-lines", "0"], "--train-lines must be a positive integer, not '0'"),
        (["--bpe", "4k"], "--bpe must be a positive integer, not '4k'"),
        (["--bpe", "-1"], "--bpe must be a positive integer, not '-1'"),
        (["--workers", "1.5"], "--workers must be a positive integer, not '1.5'"),
        (["--from", "/no/such"], "there is no folder '/no/such'"),
        (["--from"], "--from needs a value"),
        (["--out", "--bpe"], "--out needs a value"),
        (["--form", "x"], "unknown option '--form'"),
    ],
)
def test_bad_options(options: list[str], message: str) -> None:
    assert message in refused(*options)


def append(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


def replace_line(path: Path, number: int, line: bytes) -> None:
    lines = path.read_bytes().split(b"\n")
    lines[number - 1] = line
    path.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: append(s / "train.en", b"One more.\n"), "train.en has 61 lines, train.de has 60"),
        (lambda s: append(s / "test_2017_flickr.de", b"Einer mehr."), "test_2017_flickr.de has 13 lines, test_2017"),
        (lambda s: (s / "valid.de").write_bytes(b""), "valid.de: the file is empty"),
        (lambda s: replace_line(s / "train.en", 7, b" \t"), "train.en: nothing on line 7"),
        (lambda s: replace_line(s / "valid.de", 3, b"B\xfcrste"), "valid.de: line 3 is not UTF-8 (byte 0xfc"),
        (lambda s: (s / "train.en").unlink(), "has no train.en, neither as .gz nor uncompressed"),
        (lambda s: (s / "test_2016_flickr.de").unlink(), "has no test_2016_flickr.de"),
        (lambda s: (s / "test_2017_flickr.en").unlink(), "has no test_2017_flickr.en"),
    ],
)
def test_bad_text(tmp_path: Path, source: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(source)
    out = tmp_path / "out"
    assert message in refused("--from", source, "--out", out)
    assert not (out / "raw").exists()


def test_more_train_lines_than_there_are(tmp_path: Path, source: Path) -> None:
    message = refused("--from", source, "--out", tmp_path / "out", "--train-lines", "61")
    assert "train.de has 60 lines, fewer than the 61 asked for" in message


def test_a_corrected_source_goes_on_in_the_same_folder(tmp_path: Path, source: Path, no_fairseq: str) -> None:
    good = (source / "valid.de").read_bytes()
    (source / "valid.de").write_bytes(b"")
    options = ("--from", source, "--out", tmp_path / "out")
    refused(*options)
    (source / "valid.de").write_bytes(good)
    assert run(*options, PYTHONPATH=no_fairseq).returncode == 0


def test_wrong_checksum(tmp_path: Path, published: tuple[Path, Path]) -> None:
    folder, scripts = published
    sums = (scripts / "checksums" / "multi30k.sha256").read_text()
    append(folder / "val.en.gz", b"\0")
    found = hashlib.sha256((folder / "val.en.gz").read_bytes()).hexdigest()
    expected = next(line.split()[0] for line in sums.splitlines() if line.endswith(" val.en.gz"))
    message = refused("--from", folder, "--out", tmp_path / "out", scripts=scripts)
    assert f"val.en.gz: wrong SHA-256: expected {expected}, found {found}" in message


def test_no_network(tmp_path: Path, published: tuple[Path, Path], server: str) -> None:
    _, scripts = published
    set_address(scripts, f"{server}/nothing")
    message = refused("--out", tmp_path / "out", scripts=scripts)
    assert f"cannot download {server}/nothing/train.de.gz (HTTP Error 404" in message
    assert "--from" in message


def test_not_installed(tmp_path: Path, published: tuple[Path, Path], source: Path) -> None:
    bare = tmp_path / "bare" / "python3"
    bare.parent.mkdir()
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    message = refused("--from", source, scripts=published[1], PATH=f"{bare.parent}:/usr/bin:/bin")
    assert "not installed: fairseq sacremoses subword_nmt tqdm; run make install" in message


def test_failing_preprocess_is_named(whole: tuple[Path, Path, str], tmp_path: Path, no_fairseq: str) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole[1], out, ignore=shutil.ignore_patterns("bin"))
    (Path(no_fairseq) / "fairseq_cli" / "preprocess.py").write_text('raise SystemExit("no space left")\n')
    message = refused("--from", whole[0], "--out", out, PYTHONPATH=no_fairseq)
    assert f"fairseq-preprocess: no space left (see {out}/preprocess.log)" in message
    assert not (out / "bin").exists()


def test_full_disk(tmp_path: Path, source: Path) -> None:
    assert "File too large" in refused("--from", source, "--out", tmp_path / "out", limit=2)
    assert not (tmp_path / "out" / "raw").exists()
