"""recipes/data/wikitext.py: the texts of WikiText in each form, and what is refused."""

from pathlib import Path

import pytest
from recipes.data.wikitext import copy, digest
from support.sources import WIKITEXT, pack_wikitext, write_wikitext

CORPUS = "wikitext-2"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return an empty folder."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def made(out: Path) -> dict[str, str]:
    return {path.stem: path.read_bytes().decode() for path in out.iterdir()}


def refused(source: Path, out: Path, limit: int | None = None) -> str:
    """Return the line with which `copy` exits."""
    with pytest.raises(SystemExit) as error:
        copy(source, CORPUS, limit, out)
    assert isinstance(error.value.code, str) and "\n" not in error.value.code
    return error.value.code


@pytest.mark.parametrize("form", ["archive", "{}.txt", "wiki.{}.tokens", "wikitext-2/{}.txt"])
def test_all_forms_give_the_same(tmp_path: Path, out: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    if form == "archive":
        source = pack_wikitext(tmp_path / "x.zip")
    else:
        write_wikitext((source / form).parent, Path(form).name)
    copy(source, CORPUS, None, out)
    assert made(out) == WIKITEXT
    train = "train: 5 lines, 21 tokens (one end of sentence a line counted); the published text has 2,088,628"
    assert capsys.readouterr().out.splitlines()[0] == train
    assert digest(source, CORPUS, None) == digest(write_wikitext(tmp_path / "other"), CORPUS, None)


def test_a_limit_takes_the_first_lines_of_the_training_text(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = pack_wikitext(tmp_path / "x.zip")
    copy(source, CORPUS, 4, out)
    assert digest(source, CORPUS, 4) == digest(out, CORPUS, None) != digest(source, CORPUS, 3)
    assert "train: 4 lines, 13 tokens" in capsys.readouterr().out
    assert made(out) == WIKITEXT | {"train": WIKITEXT["train"][: WIKITEXT["train"].index(" the dog\u00a0")]}
    assert "train has 5 lines, fewer than the 6" in refused(source, out, 6)


def test_a_carriage_return_ends_no_line_and_a_byte_order_mark_goes(tmp_path: Path, out: Path) -> None:
    source = write_wikitext(tmp_path / "source", valid="\ufeff the \r cat\r\r\n sat \n", test=" the\0cat \n")
    copy(source, CORPUS, None, out)
    assert made(out) == WIKITEXT | {"valid": " the   cat\n sat \n", "test": " the\0cat \n"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"train": " \n \n"}, "train holds no token"),
        ({"valid": ""}, "valid holds no token"),
        ({"test": b"the \xff\n"}, "test.txt: line 1 is not UTF-8"),
    ],
)
def test_a_bad_text_is_refused(tmp_path: Path, out: Path, changed: dict[str, str | bytes], words: str) -> None:
    assert words in refused(write_wikitext(tmp_path / "source", **changed), out)


def test_other_sources_are_refused(tmp_path: Path, out: Path) -> None:
    source = write_wikitext(tmp_path / "source")
    (source / "test.txt").unlink()
    assert f"{source} has no wiki.test.tokens or test.txt" in refused(source, out)
    characters = pack_wikitext(tmp_path / "wikitext-2-raw-v1.zip", "wikitext-2-raw/wiki.{}.raw")
    assert "the archive of the words, wikitext-2-v1.zip?" in refused(characters, out)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(characters.read_bytes()[:-30])
    assert f"{cut}: not a whole .zip file" in refused(cut, out)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, 1, " is encrypted; unpack it and pass the folder"),
        (2, 77, ": not a whole .zip file (That compression method is not supported)"),
        (0, 32, ": not a whole .zip file (compressed patched data (flag bit 5))"),
    ],
)
def test_an_archive_that_cannot_be_unpacked(tmp_path: Path, out: Path, offset: int, value: int, message: str) -> None:
    """The flags, or the method after them, in both headers of each member."""
    archive = pack_wikitext(tmp_path / "x.zip")
    data = bytearray(archive.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            data[at + flags + offset] = value
    archive.write_bytes(data)
    assert refused(archive, out) == f"{archive}{message}"
