"""scripts/prepare_wikitext2.sh and prepare_wikitext103.sh: each form of the texts, and what they refuse."""

import functools
import hashlib
import http.server
import shutil
import threading
from pathlib import Path

import pytest
from fairseq.data import Dictionary, data_utils
from recipes.data import wikitext
from support import prepare
from support.sources import WIKITEXT, pack_wikitext, write_wikitext

TOKENS = {"train": 16 + 5, "valid": 3 + 2, "test": 3 + 2}  # words, and an end of sentence for each line
ARCHIVE = "wikitext-2-v1.zip"
WIKITEXT2, WIKITEXT103 = "prepare_wikitext2.sh", "prepare_wikitext103.sh"
refused, prepared = (functools.partial(one, WIKITEXT2) for one in (prepare.refused, prepare.prepared))


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an archive of the texts, whose checksum is known."""
    packed = pack_wikitext(tmp_path / "published" / ARCHIVE)
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    monkeypatch.setattr(wikitext, "CHECKSUMS", {ARCHIVE: digest})
    return packed


def raw(out: Path) -> dict[str, str]:
    return {path.stem: path.read_bytes().decode() for path in (out / "raw").iterdir()}


def test_from_texts_to_binarized_data(tmp_path: Path) -> None:
    """With a byte order mark, which is left out, and carriage returns, which end no line."""
    source, out = write_wikitext(tmp_path / "source", valid="\ufeff the \r cat\r\r\n sat \n"), tmp_path / "out"
    printed = prepare.prepared_by_script(WIKITEXT2, "--from", source, "--out", out)
    assert "train: 5 lines, 21 tokens (one end of sentence a line counted); the published text has 2,088,628" in printed
    assert f"The data is in {out}/bin" in printed
    assert raw(out) == WIKITEXT | {"valid": " the   cat\n sat \n"}
    words = Dictionary.load(str(out / "bin" / "dict.txt"))
    for split, count in TOKENS.items():
        dataset = data_utils.load_indexed_dataset(str(out / "bin" / split), words)
        assert sum(dataset.sizes) == count
    train = data_utils.load_indexed_dataset(str(out / "bin" / "train"), words)
    assert words.string(train[3]) == "the cat <unk> the dog" and words.unk() in train[3]
    assert words.unk() in data_utils.load_indexed_dataset(str(out / "bin" / "test"), words)[0]  # "bird"
    assert words.index("=") != words.unk()
    assert data_utils.load_indexed_dataset(str(out / "bin" / "valid"), words).sizes.tolist() == [3, 2]
    assert "raw: done before\nbin: done before\n" in prepared("--from", source, "--out", out)


@pytest.mark.parametrize("form", ["archive", "folder of the archive", "wiki.{}.tokens", "wikitext-2/{}.txt"])
def test_other_forms_give_the_same(tmp_path: Path, published: Path, form: str) -> None:
    source = tmp_path / "published"
    if form == "archive":
        source = source / ARCHIVE
    elif "{}" in form:
        folder, name = (tmp_path / "source" / form).parent, Path(form).name
        write_wikitext(folder, name)
        source = tmp_path / "source"
    out = tmp_path / "out"
    prepared("--from", source, "--out", out)
    assert raw(out) == WIKITEXT
    # However they are packed, the texts are the same: no other source.
    other = write_wikitext(tmp_path / "other")
    prepared("--from", other, "--out", out)


def test_download(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server refuses what says it is Python, as that of the archives does."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if "python" in self.headers["User-Agent"].lower():
                self.send_error(403)
            else:
                super().do_GET()

    handler = functools.partial(Handler, directory=str(tmp_path / "published"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(wikitext, "SITE", address)
        prepared("--out", tmp_path / "out")
        server.shutdown()
    assert raw(tmp_path / "out") == WIKITEXT
    line = refused("--out", tmp_path / "later")
    assert f"cannot download {address}/{ARCHIVE}" in line and "--from" in line


def test_the_known_checksums() -> None:
    assert list(wikitext.CHECKSUMS) == ["wikitext-103-v1.zip", "wikitext-2-v1.zip"]
    assert wikitext.SITE == "https://wikitext.smerity.com"


def test_an_archive_with_another_checksum_is_refused(tmp_path: Path) -> None:
    archive = pack_wikitext(tmp_path / ARCHIVE)
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
def test_a_bad_text_is_refused(tmp_path: Path, changed: dict, words: str) -> None:
    source, out = write_wikitext(tmp_path / "source", **changed), tmp_path / "out"
    assert words in refused("--from", source, "--out", out)
    assert not (out / "raw").exists()
    shutil.rmtree(source)
    prepared("--from", write_wikitext(source), "--out", out)  # goes on where it was


def test_other_sources_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = write_wikitext(tmp_path / "source")
    (source / "test.txt").unlink()
    assert f"{source} has no wiki.test.tokens or test.txt" in refused("--from", source, "--out", out)
    characters = pack_wikitext(tmp_path / "wikitext-2-raw-v1.zip", "wikitext-2-raw/wiki.{}.raw")
    assert "the archive of the words, wikitext-2-v1.zip?" in refused("--from", characters, "--out", out)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(characters.read_bytes()[:-30])
    assert f"{cut}: not a whole .zip file" in refused("--from", cut, "--out", out)
    other = pack_wikitext(tmp_path / "wikitext-103-v1.zip")
    assert "wikitext-103-v1.zip is not wikitext-2-v1.zip" in refused("--from", other, "--out", out)
    assert "--from: '/dev/zero' is neither a file nor a folder" in refused("--from", "/dev/zero", "--out", out)
    assert "--from: there is no '/nowhere'" in refused("--from", "/nowhere", "--out", out)
    assert "unrecognized arguments: --form" in refused("--form", source)


def test_train_lines_takes_the_first_lines_of_the_training_text(tmp_path: Path, published: Path) -> None:
    source, out = tmp_path / "published" / ARCHIVE, tmp_path / "out"
    options = ("--out", out, "--train-lines")
    assert "train: 4 lines, 13 tokens" in prepared("--from", source, *options, 4)
    assert raw(out) == WIKITEXT | {"train": WIKITEXT["train"][: WIKITEXT["train"].index(" the dog\u00a0")]}
    assert "raw: done before\nbin: done before\n" in prepared("--from", source, *options, 4)
    line = refused("--from", source, *options, 3)
    assert "was made with train-lines: 4, not with train-lines: 3" in line
    assert "--train-lines: must be a positive integer, not '0'" in refused(*options, 0)
    options = ("--from", source, "--out", tmp_path / "more", "--train-lines")
    assert "train has 5 lines, fewer than the 6" in refused(*options, 6)
    assert not (tmp_path / "more" / "raw").exists()


def test_another_source_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = write_wikitext(tmp_path / "source")
    prepared("--from", source, "--out", out)
    other = write_wikitext(tmp_path / "other", train="the cat\n")
    assert "use another --out" in refused("--from", other, "--out", out)
    line = prepare.refused(WIKITEXT103, "--from", source, "--out", out)
    assert "was made with script: prepare_wikitext2.sh, not with script: prepare_wikitext103.sh" in line
