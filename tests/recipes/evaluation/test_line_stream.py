"""Reading lines in windows: files, pipes that pause, ends of lines, bytes that are not UTF-8."""

import os
from pathlib import Path

import pytest
from recipes.evaluation import line_stream
from recipes.evaluation.line_stream import STDIN, count, windows


def texts(files: list[Path], size: int) -> list[list[str]]:
    return [[line.text for line in window] for window in windows(files, size)]


def test_windows_go_on_over_files_and_lines_know_their_places(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes("\ufeffa\r\n\n b\u2028c \nd".encode())
    two.write_bytes("\ufeffe\n".encode())
    assert texts([one, two], 2) == [["a", ""], [" b\u2028c ", "d"], ["e"]]
    assert [(line.file, line.number) for window in windows([one, two], 9) for line in window] == [
        *(("one", number) for number in (1, 2, 3, 4)),
        ("two", 1),
    ]
    (tmp_path / "empty").touch()
    assert texts([tmp_path / "empty"], 2) == []


def test_a_line_may_be_longer_than_what_is_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(line_stream, "BLOCK", 3)
    (tmp_path / "text").write_text("äöüß\n\nabcdefg\nhijk\nl\nmnopqrst", encoding="utf-8")
    assert texts([tmp_path / "text"], 9) == [["äöüß", "", "abcdefg", "hijk", "l", "mnopqrst"]]
    assert count([tmp_path / "text"]) == 6


def test_a_pause_of_a_pipe_ends_a_window(tmp_path, monkeypatch):
    monkeypatch.setattr(line_stream, "PAUSE", 0.05)
    reads, writes = os.pipe()
    with open(reads, encoding="utf-8") as pipe, open(writes, "wb", buffering=0) as source:
        monkeypatch.setattr("sys.stdin", pipe)
        assert count([STDIN]) is None
        found = windows([STDIN], 3)
        for sent, expected in ((b"a\nb\nha", ["a", "b"]), (b"lf\n", ["half"]), (b"1\n2\n3\n4\n", ["1", "2", "3"])):
            source.write(sent)
            assert [line.text for line in next(found)] == expected
        assert [line.text for line in next(found)] == ["4"]
        source.close()
        assert list(found) == []


def test_what_comes_before_a_line_that_is_not_utf8_is_given(tmp_path):
    (tmp_path / "text.de").write_bytes("ä\nb\nc\nü".encode() + "ü\n".encode("latin-1") + b"d\n")
    found = windows([tmp_path / "text.de"], 3)
    assert [line.text for line in next(found)] == ["ä", "b", "c"]
    with pytest.raises(SystemExit, match=r"^text.de: line 4 is not UTF-8 \(byte 0xfc at position 3\)$"):
        next(found)
    found = windows([tmp_path / "text.de"], 9)
    assert [line.text for line in next(found)] == ["ä", "b", "c"]
    with pytest.raises(SystemExit, match="line 4"):
        next(found)


def test_lines_are_counted_from_where_the_standard_input_stands(tmp_path, monkeypatch):
    (tmp_path / "text").write_text("a\nb\nc")
    assert count([tmp_path / "text", tmp_path / "text"]) == 6
    with (tmp_path / "text").open() as file:
        os.read(file.fileno(), 2)
        monkeypatch.setattr("sys.stdin", file)
        assert count([STDIN]) == 2
        assert texts([STDIN], 5) == [["b", "c"]]
