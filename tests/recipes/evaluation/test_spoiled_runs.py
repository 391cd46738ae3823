"""Each evaluation refuses a run whose data or config is broken, in one line, and changes nothing."""

import re
import shutil
from pathlib import Path

import pytest
from recipes.evaluation import language_model, sweep, translation
from support.in_process import refused
from support.learned_run import tree

MAINS = {"translation": translation.main, "lm": language_model.main, "sweep": sweep.main}
CONFIG = """
task: {{_name: {task}, data: {data}, source_lang: de, target_lang: en}}
common: {{cpu: true}}
generation: {{beam: 3}}
"""


def _no_data(run_folder: Path) -> None:
    shutil.rmtree(run_folder.parent / "data")


def _no_reference(run_folder: Path) -> None:
    (run_folder.parent / "data/tok/made_up.en").unlink()


def _short_reference(run_folder: Path) -> None:
    path = run_folder.parent / "data/raw/made_up.en"
    path.write_text(path.read_text().partition("\n")[0])


def _other_dictionary(run_folder: Path) -> None:
    path = run_folder.parent / "data/bin/dict.en.txt"
    path.write_text(path.read_text() + "word 1\n")


def _no_bin(run_folder: Path) -> None:
    for path in (run_folder.parent / "data/bin").glob("test.*"):
        path.unlink()


def _bytes_of_settings(run_folder: Path) -> None:
    (run_folder.parent / "data/settings").write_bytes(b"\xff")


def _cut_index(run_folder: Path) -> None:
    path = run_folder.parent / "data/bin/test.de-en.de.idx"
    path.write_bytes(path.read_bytes()[:20])


def _testsets(text: str):
    def change_testsets(run_folder: Path) -> None:
        (run_folder.parent / "data/testsets").write_text(text)

    return change_testsets


@pytest.mark.parametrize(
    "spoil, words",
    [
        (_no_data, "holds no prepared data (no file settings.json)"),
        (_testsets(""), "data was prepared without a test set: there is nothing to evaluate on"),
        (_no_reference, "there is no reference"),
        (_short_reference, "made_up: 9 hypotheses, and a reference of 1 lines; was the data changed?"),
        (_other_dictionary, "was trained with other dictionaries: its decoder has "),
        (_no_bin, "was prepared with 2 test sets, "),
        (_testsets("made_up\n"), "was prepared with 1 test sets, "),
        (_testsets("made_up\nmade_up\n"), "must have a name of its own, which is no path; one is 'made_up'"),
        (_testsets("made_up\n../another\n"), "one is '../another'"),
        (_cut_index, "data/bin, test failed: "),
        (_bytes_of_settings, "data/settings is no text in UTF-8"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_spoiled_data_is_refused(changed, spoil, words):
    spoil(changed)
    before = tree(changed.parent)
    assert words in refused(translation.main, changed)
    assert tree(changed.parent) == before and not list(changed.rglob(".*"))


@pytest.mark.parametrize("main", MAINS)
@pytest.mark.parametrize(
    "config, words",
    [
        (b"\xff\x00", "train.yaml cannot be read: "),
        ("task: {data", "train.yaml cannot be read: while parsing"),
        ("just text", ""),
        ("5", "train.yaml cannot be read: "),
        ("- 1", "train.yaml is no config: it holds a list"),
        ("a: &a [*a]", "train.yaml cannot be read: "),
        ("", ""),
        ("task: 5", ""),
        ("task: [5]", "train.yaml, task.data: Index 'data'"),
        ("task: {data: '${no.such}'}", "train.yaml, task.data: Interpolation key 'no.such' not found"),
        (("data: .*?,", "data: 5,"), "train.yaml, task.data: must be a text, not 5"),
        (("data: .*?,", "data: '/a:b/bin',"), "/a:b/bin: fairseq cannot read from a path with ':'"),
        (("data: .*?,", "data: '/a/\\\\${b}/bin',"), "/a/${b}/bin: fairseq cannot read from a path with"),
        (("cpu: true", "cpu: many"), "train.yaml, common.cpu: must be true or false, not many"),
    ],
)
def test_a_spoiled_config_is_refused_by_each_evaluation(learned, tmp_path, main, config, words):
    if isinstance(config, tuple):
        data = shutil.copytree(learned.parent / "data", tmp_path / "data")
        shutil.copy(data / "bin/dict.de.txt", data / "bin/dict.txt")
        task = "language_modeling" if main == "lm" else "translation"
        old, new = config
        config = re.sub(old, new, CONFIG.format(task=task, data=data / "bin"))
    (tmp_path / "train.yaml").write_bytes(config if isinstance(config, bytes) else config.encode())
    assert words in refused(MAINS[main], tmp_path)
