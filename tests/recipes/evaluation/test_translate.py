"""scripts/translate.sh: the evaluation's hypotheses from raw text, by the run folder alone, and what is refused."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from recipes.evaluation import translate, translation
from recipes.files import read_lines
from recipes.layout import copy_of_preparation
from recipes.training.run_folder import RunFolder
from support import command_line
from support.in_process import call, printed, refused
from support.learned_run import copy_of
from support.places import SCRIPTS
from support.toy_run import settings
from support.waiting import wait_until


@pytest.fixture(scope="module")
def moved(with_codes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run folder with its copy of the preparation, elsewhere, and its data gone."""
    folder = copy_of(with_codes, tmp_path_factory.mktemp("moved"))
    (folder / "prepared").mkdir()
    copy_of_preparation(folder.parent / "data/bin", folder / "prepared")
    shutil.rmtree(folder.parent / "data")
    return folder


@pytest.fixture(scope="module")
def text(with_codes: Path) -> Path:
    """Return the source side of a test set, as raw text."""
    return with_codes.parent / "data/raw/made_up.de"


@pytest.mark.parametrize("options, name", [([], "best"), (["--average", 2, "--beam", 2], "average2_beam2")])
def test_the_test_sets_become_what_the_evaluation_makes_of_them(options, name, with_codes, moved, text):
    printed(translation.main, with_codes, *options)
    for test in ("made_up", "another"):
        expected = (with_codes / f"evaluation/{name}/{test}.txt").read_text()
        for run in (with_codes, moved):
            assert printed(translate.main, run, text.with_name(f"{test}.de"), *options) == expected
    assert not list(moved.glob(".*"))


def test_scores_and_several_translations_of_each_line(moved, text):
    best = printed(translate.main, moved, text).splitlines()
    rows = [row.split("\t") for row in printed(translate.main, moved, text, "--nbest", 2, "--scores").splitlines()]
    assert [words for _, words in rows[::2]] == best
    assert all(float(one[0]) >= float(other[0]) for one, other in zip(rows[::2], rows[1::2], strict=True))
    assert all(one[1] != other[1] for one, other in zip(rows[::2], rows[1::2], strict=True))


def test_lines_that_are_empty_unknown_or_too_long(moved, text, tmp_path):
    usual = printed(translate.main, moved, text).splitlines()
    long = ". ".join(["de3 de5"] * 400)  # of a model with 1,024 positions
    odd = tmp_path / "odd"
    odd.write_text(f"{read_lines(text)[0]}\n\n日本語 \U0001f600 \x00 <pad> </s>\n\x01\n{long}\r\n", encoding="utf-8")
    result = call(translate.main, moved, odd, "--nbest", 2)
    lines = result.stdout.split("\n")
    assert (result.status, len(lines)) == (0, 2 * 5 + 1)
    assert lines[0] == usual[0] and lines[2:4] == ["", ""] and lines[6:8] == ["", ""] and lines[8]
    assert result.stderr == "command: odd: line 5 is longer than the model's 1,024 positions: translated in 2 parts\n"


def test_a_line_that_is_not_utf8_ends_it_after_the_lines_before(moved, text, tmp_path):
    first = read_lines(text)[0]
    (tmp_path / "bad").write_bytes(f"{first}\n".encode() + b"\xe4\n" + f"{first}\n".encode())
    result = call(translate.main, moved, text, tmp_path / "bad")
    usual = printed(translate.main, moved, text)
    assert (result.status, result.stdout) == (1, usual + usual.split("\n")[0] + "\n")
    assert result.stderr == "command: bad: line 2 is not UTF-8 (byte 0xe4 at position 1)\n"


def test_a_conversation_goes_on_after_a_line_that_is_not_utf8(moved, text, tmp_path, monkeypatch):
    lines = text.read_bytes().splitlines(keepends=True)[:2]
    (tmp_path / "typed").write_bytes(lines[0] + b"\xe4\n" + lines[1].rstrip(b"\n"))
    with (tmp_path / "typed").open(encoding="utf-8") as typed:
        monkeypatch.setattr("sys.stdin", typed)
        result = call(translate.main, moved, "--interactive")
    assert (result.status, result.stdout.splitlines()) == (0, printed(translate.main, moved, text).splitlines()[:2])
    assert result.stderr == "> > command: standard input: line 2 is not UTF-8 (byte 0xe4 at position 1)\n> > "


def test_translations_come_while_the_input_is_open_and_an_interrupt_ends_it(moved, text, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    running = command_line.start("support.script_entry", "recipes.evaluation.translate", moved, tmp_path / "pipe")
    with (tmp_path / "pipe").open("w", buffering=1) as pipe:
        for number in (1, 2):
            pipe.write(f"{read_lines(text)[0]}\n")
            written = Path(running.folder.name, "stdout")
            wait_until(lambda: written.read_text().count("\n") == number, running.process.is_alive)  # noqa: B023
        os.kill(running.process.pid, signal.SIGINT)
        result = running.result()
    assert (result.status, result.stderr.count("\n")) == (130, 1) and result.stderr.endswith(": interrupted\n")


def test_the_script_reads_a_pipe_and_ends_quietly_if_nobody_reads_it(moved, text):
    script = f"{SCRIPTS}/translate.sh {moved} <{text} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, **settings())
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_what_is_refused_before_anything_is_loaded(moved, text, tmp_path):
    for words, options in (
        (f"there is no file {tmp_path}/none", (tmp_path / "none",)),
        (f"{tmp_path} is a folder, and no text", (text, tmp_path)),
        (f"--interactive reads no file: leave out {text} (see --help)", (text, "--interactive")),
        ("--nbest 4: must be at most the beam size, 3", (text, "--nbest", 4)),
        ("argument --beam: must be a positive integer, not '0' (see --help)", ("--beam", 0)),
    ):
        assert refused(translate.main, moved, *options) == words
    assert "no run folder" in refused(translate.main, tmp_path, text)


@pytest.fixture
def spoiled(moved: Path, tmp_path: Path) -> Path:
    """Return a copy of the moved run that a test may spoil."""
    return shutil.copytree(moved, tmp_path / "spoiled")


def test_a_run_without_its_codes(spoiled, text):
    (spoiled / "prepared/bpe/codes").unlink()
    assert refused(translate.main, spoiled, text) == (
        f"{spoiled}/prepared/bpe has no codes of the subwords: codes or codes.de"
    )
    shutil.rmtree(spoiled / "prepared")
    data = RunFolder(spoiled).data.parent
    assert refused(translate.main, spoiled, text) == f"{data} holds no prepared data (no file settings.json)"


def test_a_checkpoint_of_another_dictionary(spoiled, text):
    dictionary = spoiled / "prepared/bin/dict.de.txt"
    dictionary.write_text(dictionary.read_text() + "more 1\n" * 1)
    assert "trained with" in refused(translate.main, spoiled, text)
    dictionary.unlink()
    assert refused(translate.main, spoiled, text) == f"there is no dictionary {dictionary}"


def test_a_checkpoint_that_could_hold_a_program(spoiled, text):
    (spoiled / "checkpoints/checkpoint_best.pt").write_bytes(b"cut short")
    assert "is cut short" in refused(translate.main, spoiled, text)


def test_several_runs_translate_together(with_codes, moved, text, spoiled, tmp_path):
    early = min(moved.glob("checkpoints/checkpoint_*_*.pt"), key=lambda path: int(path.stem.split("_")[-1]))
    shutil.copy(early, spoiled / "checkpoints/checkpoint_best.pt")
    shutil.copytree(with_codes.parent / "data", RunFolder(spoiled).data.parent)
    try:
        printed(translation.main, with_codes, spoiled, "--out", tmp_path / "out")
    finally:
        shutil.rmtree(RunFolder(spoiled).data.parent)
    (expected,) = (tmp_path / "out/evaluation").glob("*/made_up.txt")
    assert printed(translate.main, moved, spoiled, text) == expected.read_text()


def test_a_checkpoint_and_data_that_no_script_prepared(with_codes, moved, text, tmp_path):
    """Its lines are words of the dictionary. What is called "prepared" beside the checkpoint is not of it."""
    data = shutil.copytree(with_codes.parent / "data/bin", tmp_path / "binarized")
    (tmp_path / "prepared").mkdir()
    shutil.copy(with_codes / "checkpoints/checkpoint_best.pt", tmp_path / "mine.pt")
    result = call(translate.main, "--checkpoint", tmp_path / "mine.pt", "--data", data, text, "--beam", 2)
    assert (result.status, result.stdout) == (0, printed(translate.main, moved, text, "--beam", 2))
    taken = f"each line is taken as words of {data}/dict.de.txt"
    assert result.stderr == f"command: {tmp_path} has no settings.json: {taken}\n"


def test_the_subwords_are_joined_as_the_config_says(spoiled, text):
    usual = printed(translate.main, spoiled, text)
    config = yaml.safe_load((spoiled / "train.yaml").read_text())
    (spoiled / "train.yaml").write_text(yaml.safe_dump(config | {"common_eval": {"post_process": "letter"}}))
    assert printed(translate.main, spoiled, text) == usual.replace(" ", "")
