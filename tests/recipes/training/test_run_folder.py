"""The one reader of a run folder: its paths, its config, its kind, and what it refuses."""

import hashlib

import pytest
from recipes.cli import ROOT
from recipes.training.run_folder import RunFolder


def run_of(folder, text):
    """Return the reader of a run folder with this train.yaml."""
    (folder / "train.yaml").write_text(text)
    return RunFolder(folder)


def message(refused):
    with pytest.raises(SystemExit) as caught:
        refused()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_a_run_folder_says(tmp_path):
    run = run_of(tmp_path, "task: {_name: rdrop_translation, data: data/x/bin}\ncommon: {seed: 3}\n")
    assert (run.task, run.seed, run.data) == ("rdrop_translation", 3, ROOT / "data/x/bin")
    assert run.best == tmp_path / "checkpoints/checkpoint_best.pt"
    assert run.last == tmp_path / "checkpoints/checkpoint_last.pt"
    assert (run.log, run.versions) == (tmp_path / "train.log", tmp_path / "versions.txt")
    assert run.evaluation("best") == tmp_path / "evaluation/best"
    assert str(run) == str(tmp_path)


@pytest.mark.parametrize(
    "task, kind, script",
    [
        ("translation", "translation", "scripts/evaluate_translation.sh"),
        ("rdrop_translation", "translation", "scripts/evaluate_translation.sh"),
        ("language_modeling", "language_model", "scripts/evaluate_lm.sh"),
        ("rdrop_language_modeling", "language_model", "scripts/evaluate_lm.sh"),
        ("rdrop_sentence_prediction", "sentence_prediction", "scripts/evaluate_glue.sh"),
        ("masked_lm", "masked_lm", None),
    ],
)
def test_the_kind_of_a_run_and_the_command_that_evaluates_it(task, kind, script, tmp_path):
    run = run_of(tmp_path, f"task: {{_name: {task}}}\n")
    assert (run.kind, run.next_step) == (kind, f"{script} {tmp_path}" if script else "")


@pytest.mark.parametrize(
    "value, kind, words",
    [
        ("5", str, "task.x: must be a text, not 5"),
        ("five", int, "task.x: must be an integer, not five"),
        ("5", bool, "task.x: must be true or false, not 5"),
        ("[1]", dict, "task.x: must be a section, not [1]"),
        ("${nothing}", str, "task.x: Interpolation key 'nothing' not found"),
    ],
)
def test_a_setting_of_another_type_is_refused(value, kind, words, tmp_path):
    run = run_of(tmp_path, f"task: {{x: '{value}'}}\n" if "$" in value else f"task: {{x: {value}}}\n")
    assert message(lambda: run.setting("task.x", kind)) == f"{tmp_path}/train.yaml, {words}"


def test_settings_with_defaults_and_sections(tmp_path):
    run = run_of(tmp_path, "generation: {beam: 4, lenpen: null}\n")
    assert run.setting("generation", dict) == {"beam": 4, "lenpen": None}
    assert run.setting("generation.beam", int, 5) == 4
    assert run.setting("generation.unkpen", int, 7) == 7
    assert (run.seed, run.task) == (1, "")


@pytest.mark.parametrize(
    "text, words",
    [
        (b"\xff\x00\x80", "train.yaml cannot be read: "),
        (b"task: {data", "train.yaml cannot be read: while parsing"),
        (b"a: &a [*a]", "train.yaml cannot be read: "),
        (b"- 1", "train.yaml is no config: it holds a list"),
        (b"common: 5", "train.yaml: common must be a section of settings, not 5"),
    ],
)
def test_a_broken_config_is_refused(text, words, tmp_path):
    (tmp_path / "train.yaml").write_bytes(text)
    assert words in message(lambda: RunFolder(tmp_path).config)


def test_a_folder_that_is_no_run_folder_is_refused(tmp_path):
    assert message(lambda: RunFolder(tmp_path).config) == (
        f"{tmp_path} is no run folder of scripts/train.sh: it has no train.yaml"
    )


@pytest.mark.parametrize(
    "data, words",
    [
        ("''", "does not say task.data"),
        ("a:b", "a:b: fairseq cannot read from a path with ':' or '${'"),
    ],
)
def test_data_that_fairseq_cannot_read_is_refused(data, words, tmp_path):
    run = run_of(tmp_path, f"task: {{data: {data}}}\n")
    assert words in message(lambda: run.data)


def test_other_dictionaries_than_those_of_the_run_are_refused(tmp_path):
    run = run_of(tmp_path, f"task: {{data: {tmp_path}}}\n")
    dictionary = tmp_path / "dict.de.txt"
    dictionary.write_text("ein 5\n")
    run.check_dictionaries(tmp_path)  # early versions of train.sh did not write the file
    checksum = hashlib.sha256(dictionary.read_bytes()).hexdigest()
    run.dictionaries.write_text(f"{checksum}  dict.de.txt\n")
    run.check_dictionaries(tmp_path)
    dictionary.write_text("ein 6\n")
    assert f"{dictionary} is not the dictionary that {tmp_path} was trained with" in message(
        lambda: run.check_dictionaries(tmp_path)
    )
    dictionary.unlink()
    assert f"{dictionary} is not the dictionary" in message(lambda: run.check_dictionaries(tmp_path))
    run.dictionaries.write_text("what is this\n")
    assert "'what is this' is no line of sha256sum" in message(lambda: run.check_dictionaries(tmp_path))
