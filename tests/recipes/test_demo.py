"""The demo: two trainings at once that end with it, what it says of failures, and what it prints."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from recipes import demo
from recipes.data.demo import TEXT
from recipes.training import launch
from recipes.training.run_folder import RunFolder
from support.places import SCRIPTS
from support.toy_run import refused, run, settings
from support.waiting import HANG, is_gone, wait_until


@pytest.fixture
def runs(tmp_path):
    """Return the folders of two runs."""
    found = {name: RunFolder(tmp_path / name) for name in demo.CONFIGS}
    for folder in found.values():
        folder.path.mkdir()
    return found


def stand_in(monkeypatch, train):
    """Let train(CONFIG'S NAME, RUN) stand in for launch.train, in this process and in those that it forks."""
    monkeypatch.setattr(launch, "train", lambda config, run, seed, overrides, options: train(config.stem, run))


def log(run, update, bleu):
    run.log.write_text(f'[x][INFO] - {{"valid_bleu": "{bleu}", "num_updates": "{update}"}}\n')


def test_both_runs_train_at_once_and_their_progress_is_printed(runs, monkeypatch, capfd):
    def train(name, run):
        log(run, 250, "21.3")
        sys.stdout.write("not shown\n")
        wait_until(lambda: all(each.log.exists() for each in runs.values()))  # ends if the other trains too
        time.sleep(0.5)

    stand_in(monkeypatch, train)
    monkeypatch.setattr(demo, "INTERVAL", 0.3)
    demo.train(runs, 1)
    line = "baseline: update 250, validation BLEU 21.3   rdrop: update 250, validation BLEU 21.3"
    printed = capfd.readouterr()
    assert printed.out.splitlines()[-1] == line and "not shown" not in printed.out
    assert printed.err == ""


def test_runs_without_a_log_have_no_progress_yet(runs, monkeypatch):
    stand_in(monkeypatch, lambda name, run: None)
    training = demo.Training(demo.CONFIGS["rdrop"], runs["rdrop"], 1)
    assert training.progress() == "update , validation BLEU "
    training.process.join()
    assert not training.is_running()


FAILS = {
    "a reason": lambda: sys.exit("training failed: out of memory"),
    "a missing file": lambda: Path("/nowhere/file").read_text(),
    "a kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


@pytest.mark.parametrize(
    "kind, words",
    [
        ("a reason", "training failed: out of memory"),
        ("a missing file", "[Errno 2] No such file or directory: '/nowhere/file'"),
        ("a kill", "rdrop ended with status -9"),
    ],
)
def test_a_failure_is_said_in_one_line(runs, monkeypatch, kind, words):
    def train(name, run):
        if name == "rdrop":
            FAILS[kind]()
        time.sleep(HANG)

    stand_in(monkeypatch, train)
    with pytest.raises(SystemExit, match=r".") as caught:
        demo.train(runs, 1)
    assert words in caught.value.code and "\n" not in caught.value.code
    for process in demo.FORK.active_children():
        process.terminate()
        process.join()


# The demo, with trainings that say their number and wait for ever
PROGRAM = """
import os, sys, time
from pathlib import Path
from recipes import cli, demo
from recipes.training import launch
from recipes.training.run_folder import RunFolder
def train(config, run, *_):
    (run.path / config.stem).write_text(str(os.getpid()))
    time.sleep(1000)
launch.train = train
demo.run_script = lambda *_: None
launch.default_folder = lambda *_: RunFolder(Path(sys.argv[1]))
cli.run(demo.main, "demo.sh", [])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_trainings_end_with_the_demo(number, tmp_path):
    env = settings()["env"] | {"PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    files = [tmp_path / name for name in demo.CONFIGS]
    wait_until(lambda: all(file.exists() and file.read_text() for file in files), lambda: process.poll() is None)
    process.send_signal(number)
    _, errors = process.communicate(timeout=HANG)
    wait_until(lambda: all(is_gone(int(file.read_text())) for file in files))
    if number != signal.SIGKILL:
        assert (process.returncode, errors) == (130, "demo.sh: interrupted; the same command goes on where it was\n")


def test_a_script_that_fails_ends_the_demo_with_its_status(tmp_path, monkeypatch):
    (tmp_path / "scripts").mkdir()
    for name, line in (("fails.sh", "exit 7"), ("says.sh", 'echo "$PWD $*" >said')):
        (tmp_path / "scripts" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / "scripts" / name).chmod(0o755)
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    with pytest.raises(SystemExit) as caught:
        demo.run_script("fails.sh")
    assert caught.value.code == 7
    demo.run_script("says.sh", "a", "b c")
    assert (tmp_path / "said").read_text() == f"{tmp_path} a b c\n"


def test_translations_are_printed_beside_source_and_reference(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "DATA", tmp_path)
    folders = [tmp_path / "raw", *(each.evaluation("best") for each in runs.values())]
    for folder in folders:
        folder.mkdir(parents=True)
    for folder, name in zip([folders[0], *folders], ["test.de", "test.en", "test.txt", "test.txt"], strict=True):
        (folder / name).write_text("".join(f"{name} {number}\n" for number in range(7)))
    demo.print_translations(runs)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:6] == [
        "== Translations of the first test sentences",
        "",
        "source     test.de 0",
        "reference  test.en 0",
        "baseline   test.txt 0",
        "rdrop      test.txt 0",
    ]
    assert len(lines) == 1 + 5 * 5


def test_the_sentence_that_the_demo_proposes_is_new_and_of_known_words(runs):
    text = (TEXT / "train.de").read_text(encoding="utf-8")
    assert demo.SENTENCE not in text
    assert set(demo.SENTENCE.strip(".").split()) <= set(text.replace(".", " ").split())
    assert demo.own_sentence(runs["rdrop"]).endswith(f" | scripts/translate.sh {runs['rdrop']}")


def test_demo_sh_prints_its_header_as_help_and_refuses_in_one_line():
    result = run("demo.sh", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "\nUsage: scripts/demo.sh [--seed N]\n" in result.stdout
    assert "--seed: must be an integer >= 0, not 'one'" in refused("demo.sh", "--seed", "one")
    assert "unrecognized arguments: --seeds" in refused("demo.sh", "--seeds")
