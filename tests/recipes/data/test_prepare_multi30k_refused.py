"""scripts/prepare_multi30k.sh: options, text and files that it refuses."""

import functools
import gzip
import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from recipes.data import multi30k
from support import prepare
from support.places import SCRIPTS
from support.sources import write_multi30k

refused, prepared = (functools.partial(one, "prepare_multi30k.sh") for one in (prepare.refused, prepare.prepared))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_multi30k(tmp_path / "source")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--pair", "de-cs"],
            "invalid choice: 'de-cs' (choose from 'de-en', 'en-de', 'de-fr', 'fr-de', 'en-fr', 'fr-en')",
        ),
        (["--pair", "de-de"], "invalid choice: 'de-de'"),
        (["--train-lines", "0"], "--train-lines: must be a positive integer, not '0'"),
        (["--bpe", "4k"], "--bpe: must be a positive integer, not '4k'"),
        (["--bpe", "-1"], "--bpe: must be a positive integer, not '-1'"),
        (["--workers", "1.5"], "--workers: must be a positive integer, not '1.5'"),
        (["--from", "/no/such"], "there is no folder '/no/such'"),
        (["--from"], "--from: expected one argument"),
        (["--out", "--bpe"], "--out: expected one argument"),
        (["--form", "x"], "unrecognized arguments: --form x"),
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


def test_a_corrected_source_goes_on_in_the_same_folder(tmp_path: Path, source: Path) -> None:
    good = (source / "valid.de").read_bytes()
    (source / "valid.de").write_bytes(b"")
    options = ("--from", source, "--out", tmp_path / "out")
    refused(*options)
    (source / "valid.de").write_bytes(good)
    assert prepared(*options)


def test_wrong_checksum(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = source / "val.en.gz"
    packed.write_bytes(gzip.compress((source / "valid.en").read_bytes()))
    monkeypatch.setattr(multi30k, "CHECKSUMS", {"val.en.gz": "0" * 64})
    found = hashlib.sha256(packed.read_bytes()).hexdigest()
    message = refused("--from", source, "--out", tmp_path / "out")
    assert f"val.en.gz: wrong SHA-256: expected {'0' * 64}, found {found}" in message


def test_no_network(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi30k, "ADDRESS", f"{server}/nothing")
    message = refused("--out", tmp_path / "out")
    assert f"cannot download {server}/nothing/train.de.gz (HTTP Error 404" in message
    assert "--from" in message


def test_not_installed(tmp_path: Path, source: Path) -> None:
    """In a Python without packages, and a copy of the scripts that has no .venv beside it."""
    scripts = shutil.copytree(SCRIPTS, tmp_path / "repository" / "scripts")
    bare = tmp_path / "bare" / "python3"
    bare.parent.mkdir()
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    arguments = prepare.command("prepare_multi30k.sh", "--from", source, scripts=scripts)
    result = prepare.typed(arguments, PATH=f"{bare.parent}:/usr/bin:/bin")
    assert result.returncode != 0 and result.stderr.count("\n") == 1
    assert "not installed: fairseq sacremoses subword_nmt tqdm; run make install" in result.stderr


def test_failing_preprocess_is_named(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "stub" / "fairseq_cli"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "preprocess.py").write_text('raise SystemExit("no space left")\n')
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    out = tmp_path / "out"
    message = refused("--from", source, "--out", out, fairseq=True)
    assert f"fairseq-preprocess: no space left (see {out}/preprocess.log)" in message
    assert not (out / "bin").exists()


def test_full_disk(tmp_path: Path, source: Path) -> None:
    assert "File too large" in refused("--from", source, "--out", tmp_path / "out", limit=2)
    assert not (tmp_path / "out" / "raw").exists()
