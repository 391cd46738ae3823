"""recipes/text/parallel.py: pairs of lines are read, checked, copied and joined, or refused with one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from recipes.text.parallel import check, join, pairs

LANGS = ("de", "en")
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return an empty folder."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def write(prefix: Path, german: bytes, english: bytes) -> Path:
    """Write both sides of a text, and return its prefix."""
    for lang, text in zip(LANGS, (german, english), strict=True):
        Path(f"{prefix}.{lang}").write_bytes(text)
    return prefix


def refused(function: Callable[..., object], *arguments: object, **options: object) -> str:
    """Return the line with which a function exits."""
    with pytest.raises(SystemExit) as error:
        function(*arguments, **options)
    assert isinstance(error.value.code, str) and "\n" not in error.value.code
    return error.value.code


def test_line_ends_are_made_plain(tmp_path: Path, out: Path, capsys: Capture) -> None:
    check(write(tmp_path / "x", "eins\r\nzwei\u2028\r\n".encode(), b"one\ntwo"), LANGS, out)
    assert capsys.readouterr().out == "x: 2 pairs\n"
    assert (out / "x.de").read_bytes() == "eins\nzwei\u2028\n".encode()
    assert (out / "x.en").read_bytes() == b"one\ntwo\n"


def test_only_newlines_end_a_line(tmp_path: Path, out: Path, capsys: Capture) -> None:
    check(write(tmp_path / "x", "a\rb\r\r\nc\x0bd\x85\u2028e".encode(), b"A\nB\n"), LANGS, out)
    assert capsys.readouterr().out == "x: 2 pairs\n"
    assert (out / "x.de").read_bytes() == "a\rb\nc\x0bd\x85\u2028e\n".encode()


def test_many_empty_lines_are_counted(tmp_path: Path, out: Path) -> None:
    prefix = write(tmp_path / "x", b"ja\n" + b"\n" * 8, b"yes\n" * 9)
    assert refused(check, prefix, LANGS, out) == "x.de: nothing on line 2, 3, 4, 5, 6 and 3 more"


def test_pairs_with_an_empty_side_can_go(tmp_path: Path, out: Path, capsys: Capture) -> None:
    prefix = write(tmp_path / "x", b"a\n \t\nc\nd\n\n", b"A\nB\n\xc2\xa0\nD\n\n")
    check(prefix, LANGS, out, drop_empty=True)
    assert capsys.readouterr().out == "x: 2 pairs; 3 of 5 left out, for they had nothing on a side\n"
    assert (out / "x.de").read_bytes() == b"a\nd\n"
    assert (out / "x.en").read_bytes() == b"A\nD\n"
    check(prefix, LANGS, out, 2, drop_empty=True)
    line = refused(check, prefix, LANGS, out, 3, drop_empty=True)
    assert line == "x.de has 2 pairs with text on both sides, fewer than the 3 asked for"


def test_the_first_pairs_are_copied_up_to_a_limit(tmp_path: Path, out: Path, capsys: Capture) -> None:
    prefix = write(tmp_path / "x", b"a\nb\nc\n", b"A\nB\nC\n")
    check(prefix, LANGS, out, 2)
    assert capsys.readouterr().out == "x: 2 pairs\n"
    assert (out / "x.de").read_bytes() == b"a\nb\n"
    assert refused(check, prefix, LANGS, out, 4) == "x.de has 3 lines, fewer than the 4 asked for"


def test_a_byte_order_mark_can_go(tmp_path: Path, out: Path, capsys: Capture) -> None:
    prefix = write(tmp_path / "x", "\ufeffeins\n\ufeffzwei\n".encode(), b"one\ntwo\n")
    check(prefix, LANGS, out, drop_bom=True)
    assert capsys.readouterr().out == "x.de: the byte order mark at its start is left out\nx: 2 pairs\n"
    assert (out / "x.de").read_bytes() == "eins\n\ufeffzwei\n".encode()
    check(prefix, LANGS, out)
    assert (out / "x.de").read_bytes() == (tmp_path / "x.de").read_bytes()  # published text stays as it is


@pytest.mark.parametrize(
    ("german", "message"),
    [
        (b"a\nb\0c\n", "x.de: line 2 holds a NUL byte: is it UTF-8?"),
        ("a\nb\n".encode("utf-16"), "x.de: line 1 is not UTF-8 (byte 0xff at position 1)"),
        ("a\nb\n".encode("utf-16-be"), "x.de: line 1 holds a NUL byte: is it UTF-8?"),
        (b"a\nb\xc3\n", "x.de: line 2 is not UTF-8 (byte 0xc3 at position 2)"),
        (b"\n\n", "x: none of its 2 pairs has text on both sides"),
        (b"", "x.de: the file is empty"),
        (
            b"a\n",
            "the sides differ in length: x.en has 2 lines, x.de has 1 (none to match line 2 and after)",
        ),
    ],
)
def test_text_that_is_refused(tmp_path: Path, out: Path, german: bytes, message: str) -> None:
    prefix = write(tmp_path / "x", german, b"A\nB\n")
    assert refused(check, prefix, LANGS, out, drop_empty=True, drop_bom=True) == message


def test_bytes_that_are_not_utf_8_can_be_repaired(tmp_path: Path, capsys: Capture) -> None:
    prefix = write(tmp_path / "x", b"a\xff\xfe\nb\n\xef\xbf\xbd\n", b"A\nB\xc3\nC\n")
    assert list(pairs(prefix, LANGS, repair=True)) == [("a\ufffd\ufffd", "A"), ("b", "B\ufffd"), ("\ufffd", "C")]
    assert capsys.readouterr().out == "x: 2 lines were not UTF-8; the bytes that were not are now U+FFFD\n"


def test_texts_are_joined_and_each_nth_pair_is_valid(tmp_path: Path, out: Path, capsys: Capture) -> None:
    one = write(tmp_path / "one", b"a\nb\nc\n", b"A\nB\nC\n")
    two = write(tmp_path / "two", b"d\ne\n", b"D\nE\n")
    join("train", [one, two], LANGS, out, every=2)
    assert capsys.readouterr().out == "valid: 2 pairs\ntrain: 3 pairs\n"
    assert [(out / f"train.{lang}").read_text() for lang in LANGS] == ["a\nc\ne\n", "A\nC\nE\n"]
    assert [(out / f"valid.{lang}").read_text() for lang in LANGS] == ["b\nd\n", "B\nD\n"]
    join("test", [two], LANGS, out, quiet=True)
    assert capsys.readouterr().out == ""
    assert (out / "test.de").read_text() == "d\ne\n"


def test_lines_of_no_break_spaces_are_not_made_empty(tmp_path: Path) -> None:
    """Such a line stays for sed and for Moses' Perl scripts. Other white space around a text goes."""
    for lang in LANGS:
        segs = ("\u00a0", " \u202f ", " ", " x\u00a0", "\r")
        body = "".join(f'<seg id="{number}">{seg}</seg>\n' for number, seg in enumerate(segs))
        (tmp_path / f"test.xml.{lang}").write_text(body, encoding="utf-8", newline="\n")
        (tmp_path / f"train.{lang}").write_text("<url>\n\u00a0\n \n x \n", encoding="utf-8")
    assert [one for one, _ in pairs(tmp_path / "test.xml", LANGS)] == ["\u00a0", "\u202f", "", "x", ""]
    assert [one for one, _ in pairs(tmp_path / "train", LANGS, notes=["<url>"])] == ["\u00a0", "", "x"]


def test_a_test_set_without_segments_is_refused(tmp_path: Path) -> None:
    prefix = write(tmp_path / "test.sgm", b"a\n", b"A\n")
    message = "test.sgm.de: no line with <seg id=...>, so no test set of IWSLT or WMT"
    assert refused(lambda: list(pairs(prefix, LANGS))) == message
