"""recipes/data/prepared.py: the settings of prepared data, in today's form and in that of before."""

import json
from pathlib import Path
from typing import Any

import pytest
from recipes.data.prepared import Prepared, read_prepared

MADE = Prepared(
    "prepare_iwslt14.sh",
    {"pair": "de-en", "bpe": 40, "tokens": "sacremoses"},
    testsets=["test", "test_news"],
    lowercase=True,
    escaped=True,
    sources={"de-en.tgz": "0a1b"},
)
FORMER = """script: prepare_iwslt14.sh
pair: de-en
lowercase: yes
escaped: yes
bpe: 40
tokens: sacremoses
de-en.tgz: 0a1b
"""


def test_what_is_written_is_read(tmp_path: Path) -> None:
    MADE.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]
    assert read_prepared(tmp_path) == MADE


def test_the_files_of_before_are_read_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "settings").write_text(FORMER)
    (tmp_path / "testsets").write_text("test\ntest_news\n")
    made = read_prepared(tmp_path)
    assert made.settings == MADE.settings
    assert (made.testsets, made.sources) == (MADE.testsets, MADE.sources)
    assert (made.lowercase, made.escaped) == (True, True)
    MADE.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_data_of_before_that_says_little(tmp_path: Path) -> None:
    """Of Multi30k the settings named no case, and data of before had no settings at all."""
    (tmp_path / "testsets").write_text("")
    assert read_prepared(tmp_path) == Prepared("", {})
    (tmp_path / "testsets").unlink()
    (tmp_path / "settings").write_text("pair: de-en\ntrain-lines: all\ntexts: 0a1b\n")
    assert read_prepared(tmp_path) == Prepared("", {"pair": "de-en", "train-lines": "all"}, sources={"texts": "0a1b"})


def test_settings_are_texts() -> None:
    made = Prepared("x.sh", {"train-lines": "all", "bpe": 40, "drop-empty": True})
    assert made.settings == {
        "script": "x.sh",
        "train-lines": "all",
        "bpe": "40",
        "drop-empty": "yes",
        "lowercase": "no",
        "escaped": "no",
    }


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"holds no prepared data \(no file settings.json\)"):
        read_prepared(tmp_path)


def written(**changed: Any) -> str:
    entries: dict[str, Any] = {"script": "x.sh", "options": {}, "sources": {}, "testsets": [], "lowercase": False}
    return json.dumps(entries | {"escaped": False} | changed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "settings.json is not JSON: "),
        ("pair: de-en\n", "settings.json is not JSON: "),
        ("[]", "settings.json must be an object with escaped, lowercase, options, script, sources, testsets"),
        ("{}", "settings.json must be an object with "),
        (written(fish=1), "settings.json must be an object with "),
        (written(lowercase="no"), "settings.json: lowercase must be a bool, not 'no'"),
        (written(testsets=[1]), r"settings.json: testsets must be a list of names, not \[1\]"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(SystemExit, match=message):
        read_prepared(tmp_path)
