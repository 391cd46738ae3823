"""Files and folders that are whole or absent."""

import tempfile

import pytest
from recipes.files import whole_folder


def test_a_folder_is_that_of_the_last_process_that_made_it(tmp_path, monkeypatch):
    left, foreign = tmp_path / ".made.a1b2c3d4.part", tmp_path / ".other.a1b2c3d4.part"
    left.mkdir()
    foreign.mkdir()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *_: monkeypatch.undo() or tmp_path / "taken away meanwhile")
    with whole_folder(tmp_path / "made") as one, whole_folder(tmp_path / "made") as two:
        assert not left.exists() and one.exists()
        (one / "one").touch()
        (two / "two").touch()
    foreign.rmdir()  # is still there
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "one"]
    with pytest.raises(OSError), whole_folder(tmp_path / "made"):
        raise OSError
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "one"]
