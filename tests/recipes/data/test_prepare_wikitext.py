"""scripts/prepare_wikitext2.sh and prepare_wikitext103.sh: each form of the texts, and what they refuse."""

import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from fairseq.data import Dictionary, data_utils
from support.places import SCRIPTS
from support.waiting import HANG

BIN = Path(sys.executable).parent
TEXTS = {
    "train": " \n = A title = \n \n the cat <unk> the dog \n the dog\u00a0barks , the cat sat \n",
    "valid": " \n the cat sat \n",
    "test": " the bird sat \n \n",
}
TOKENS = {"train": 16 + 5, "valid": 3 + 2, "test": 3 + 2}  # words, and an end of sentence for each line
ARCHIVE = "wikitext-2-v1.zip"


def write(folder: Path, form: str = "{}.txt", **changed: str | bytes) -> Path:
    folder.mkdir(parents=True)
    for split, text in (TEXTS | changed).items():
        (folder / form.format(split)).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def pack(archive: Path, member: str = "wikitext-2/wiki.{}.tokens") -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for split, text in TEXTS.items():
            packed.writestr(member.format(split), text)
    return archive


def run(*options: object, scripts: Path = SCRIPTS, corpus: str = "2", **env: str) -> subprocess.CompletedProcess[str]:
    command = [str(scripts / f"prepare_wikitext{corpus}.sh"), "--workers", "1", *map(str, options)]
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", **env}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=HANG)


def refused(*options: object, **settings: object) -> str:
    """Run, check that it fails with one line on stderr, and return that line."""
    result = run(*options, **settings)
    assert result.returncode != 0, result.stdout
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.fixture
def no_fairseq(tmp_path: Path) -> dict[str, str]:
    """An environment in which the last step takes no time, for tests of the steps before it."""
    package = tmp_path / "stub" / "fairseq_cli"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "preprocess.py").write_text("raise SystemExit\n")
    return {"PYTHONPATH": str(package.parent)}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The scripts, with a checksum for the archive of the texts above."""
    scripts = tmp_path / "repository" / "scripts"
    shutil.copytree(SCRIPTS, scripts)
    packed = pack(tmp_path / "published" / ARCHIVE)
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    (scripts / "checksums" / "wikitext.sha256").write_text(f"{digest}  {ARCHIVE}\n")
    return scripts


def raw(out: Path) -> dict[str, str]:
    return {path.stem: path.read_bytes().decode() for path in (out / "raw").iterdir()}


def test_from_texts_to_binarized_data(tmp_path: Path) -> None:
    source, out = write(tmp_path / "source"), tmp_path / "out"
    result = run("--from", source, "--out", out)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert (
        "train: 5 lines, 21 tokens (one end of sentence a line counted); the published text has 2,088,628"
        in result.stdout
    )
    assert f"The data is in {out}/bin" in result.stdout
    assert raw(out) == TEXTS
    words = Dictionary.load(str(out / "bin" / "dict.txt"))
    for split, count in TOKENS.items():
        dataset = data_utils.load_indexed_dataset(str(out / "bin" / split), words)
        assert sum(dataset.sizes) == count
    train = data_utils.load_indexed_dataset(str(out / "bin" / "train"), words)
    assert words.string(train[3]) == "the cat <unk> the dog" and words.unk() in train[3]
    assert words.unk() in data_utils.load_indexed_dataset(str(out / "bin" / "test"), words)[0]  # "bird"
    assert words.index("=") != words.unk()

    again = run("--from", source, "--out", out)
    assert again.returncode == 0 and "raw: done before\nbin: done before\n" in again.stdout


@pytest.mark.parametrize("form", ["archive", "folder of the archive", "wiki.{}.tokens", "wikitext-2/{}.txt"])
def test_other_forms_give_the_same(tmp_path: Path, repository: Path, no_fairseq: dict[str, str], form: str) -> None:
    source = tmp_path / "published"
    if form == "archive":
        source = source / ARCHIVE
    elif "{}" in form:
        folder, name = (tmp_path / "source" / form).parent, Path(form).name
        write(folder, name)
        source = tmp_path / "source"
    out = tmp_path / "out"
    assert run("--from", source, "--out", out, scripts=repository, **no_fairseq).returncode == 0
    assert raw(out) == TEXTS
    # However they are packed, the texts are the same: no other source.
    other = write(tmp_path / "other")
    assert run("--from", other, "--out", out, scripts=repository, **no_fairseq).returncode == 0


def test_download(tmp_path: Path, repository: Path, no_fairseq: dict[str, str]) -> None:
    """The server refuses what says it is Python, as that of the archives does."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if "python" in self.headers["User-Agent"].lower():
                self.send_error(403)
            else:
                super().do_GET()

    handler = functools.partial(Handler, directory=str(tmp_path / "published"))
    shared = repository / "wikitext.sh"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        shared.write_text(shared.read_text().replace("https://wikitext.smerity.com", address))
        result = run("--out", tmp_path / "out", scripts=repository, **no_fairseq)
        server.shutdown()
    assert result.returncode == 0, result.stderr
    assert raw(tmp_path / "out") == TEXTS
    line = refused("--out", tmp_path / "later", scripts=repository, **no_fairseq)
    assert f"cannot download {address}/{ARCHIVE}" in line and "--from" in line


def test_the_known_checksums() -> None:
    table = (SCRIPTS / "checksums" / "wikitext.sha256").read_text().split("\n")
    assert [line.split()[1] for line in table if line] == ["wikitext-103-v1.zip", "wikitext-2-v1.zip"]


def test_an_archive_with_another_checksum_is_refused(tmp_path: Path) -> None:
    archive = pack(tmp_path / ARCHIVE)
    line = refused("--from", archive, "--out", tmp_path / "out")
    assert f"{archive}: wrong SHA-256: expected 92675f1d" in line
    assert not (tmp_path / "out" / "raw").exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"train": " \n \n"}, "train holds no token"),
        ({"valid": ""}, "valid holds no token"),
        ({"test": b"the \xff\n"}, "test.txt: line 1 is not UTF-8"),
    ],
)
def test_a_bad_text_is_refused(tmp_path: Path, no_fairseq: dict[str, str], changed: dict, words: str) -> None:
    source, out = write(tmp_path / "source", **changed), tmp_path / "out"
    assert words in refused("--from", source, "--out", out, **no_fairseq)
    assert not (out / "raw").exists()
    shutil.rmtree(source)
    assert run("--from", write(source), "--out", out, **no_fairseq).returncode == 0  # goes on where it was


def test_a_carriage_return_ends_no_line_and_a_byte_order_mark_goes(tmp_path: Path, no_fairseq: dict[str, str]) -> None:
    source, out = (
        write(tmp_path / "source", valid="\ufeff the \r cat\r\r\n sat \n", test=" the\0cat \n"),
        tmp_path / "out",
    )
    result = run("--from", source, "--out", out)
    assert (result.returncode, result.stderr) == (0, "")
    assert raw(out) == TEXTS | {"valid": " the   cat\n sat \n", "test": " the\0cat \n"}
    words = Dictionary.load(str(out / "bin" / "dict.txt"))
    assert data_utils.load_indexed_dataset(str(out / "bin" / "valid"), words).sizes.tolist() == [3, 2]
    assert run("--from", source, "--out", out, **no_fairseq).returncode == 0


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, 1, " is encrypted; unpack it and pass the folder"),
        (2, 77, ": not a whole .zip file (That compression method is not supported)"),
        (0, 32, ": not a whole .zip file (compressed patched data (flag bit 5))"),
    ],
)
def test_an_archive_that_cannot_be_unpacked(tmp_path: Path, offset: int, value: int, message: str) -> None:
    """The flags, or the method after them, in both headers of each member."""
    archive = pack(tmp_path / "x.zip")
    data = bytearray(archive.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            data[at + flags + offset] = value
    archive.write_bytes(data)
    sys.path.insert(0, str(SCRIPTS))
    try:
        from recipes.data.wikitext import copy
    finally:
        sys.path.remove(str(SCRIPTS))
    with pytest.raises(SystemExit) as error:
        copy(archive, "wikitext-2", None, tmp_path)
    assert str(error.value) == f"{archive}{message}"


def test_other_sources_are_refused(tmp_path: Path, no_fairseq: dict[str, str]) -> None:
    out = tmp_path / "out"
    source = write(tmp_path / "source")
    (source / "test.txt").unlink()
    assert f"{source} has no wiki.test.tokens or test.txt" in refused("--from", source, "--out", out, **no_fairseq)
    characters = pack(tmp_path / "wikitext-2-raw-v1.zip", "wikitext-2-raw/wiki.{}.raw")
    assert "the archive of the words, wikitext-2-v1.zip?" in refused("--from", characters, "--out", out, **no_fairseq)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(characters.read_bytes()[:-30])
    assert f"{cut}: not a whole .zip file" in refused("--from", cut, "--out", out, **no_fairseq)
    other = pack(tmp_path / "wikitext-103-v1.zip")
    assert "wikitext-103-v1.zip is not wikitext-2-v1.zip" in refused("--from", other, "--out", out, **no_fairseq)
    assert "--from: '/dev/zero' is neither a file nor a folder" in refused("--from", "/dev/zero", "--out", out)
    assert "--from: there is no '/nowhere'" in refused("--from", "/nowhere", "--out", out, **no_fairseq)
    assert "unknown option '--form'" in refused("--form", source)


def test_train_lines_takes_the_first_lines_of_the_training_text(
    tmp_path: Path, repository: Path, no_fairseq: dict[str, str]
) -> None:
    source, out = tmp_path / "published" / ARCHIVE, tmp_path / "out"
    options = ("--out", out, "--train-lines")
    result = run("--from", source, *options, 4, scripts=repository, **no_fairseq)
    assert result.returncode == 0, result.stderr
    assert "train: 4 lines, 13 tokens" in result.stdout
    assert raw(out) == TEXTS | {"train": TEXTS["train"][: TEXTS["train"].index(" the dog\u00a0")]}
    again = run("--from", source, *options, 4, scripts=repository, **no_fairseq)
    assert again.returncode == 0 and "raw: done before\nbin: done before\n" in again.stdout
    line = refused("--from", source, *options, 3, scripts=repository, **no_fairseq)
    assert "was made with train-lines: 4, not with train-lines: 3" in line
    assert "--train-lines must be a positive integer, not '0'" in refused(*options, 0)
    options = ("--from", source, "--out", tmp_path / "more", "--train-lines")
    assert "train has 5 lines, fewer than the 6" in refused(*options, 6, scripts=repository, **no_fairseq)
    assert not (tmp_path / "more" / "raw").exists()


def test_another_source_in_the_same_folder_is_refused(tmp_path: Path, no_fairseq: dict[str, str]) -> None:
    out = tmp_path / "out"
    source = write(tmp_path / "source")
    assert run("--from", source, "--out", out, **no_fairseq).returncode == 0
    other = write(tmp_path / "other", train="the cat\n")
    assert "use another --out" in refused("--from", other, "--out", out, **no_fairseq)
    line = refused("--from", source, "--out", out, corpus="103", **no_fairseq)
    assert "was made with script: prepare_wikitext2.sh, not with script: prepare_wikitext103.sh" in line
