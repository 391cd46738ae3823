"""The demo: its two runs are those of a study, what it says of failures, and what it prints."""

import signal
import subprocess
import sys

import pytest
from recipes import demo
from recipes.data.demo import TEXT
from recipes.studies import at_once
from recipes.training import launch
from recipes.training.run_folder import RunFolder
from support import toy_run
from support.places import SCRIPTS
from support.toy_run import refused, run, settings
from support.waiting import HANG, is_gone, wait_until


@pytest.fixture
def runs(tmp_path):
    """Return the folders of two runs."""
    found = {name: RunFolder(tmp_path / name) for name in ("baseline", "rdrop")}
    for folder in found.values():
        folder.path.mkdir()
    return found


@pytest.fixture
def at_work(tmp_path, monkeypatch):
    """Let the demo train toys below this folder. Return what is at work; `failed` says which of it fails, and why."""
    found = {"trainings": [], "failed": {}}

    def run_all(trainings, slots, tell, interval):
        tell("at work")
        found.update(trainings=trainings, slots=slots)
        return {one: found["failed"][one.entry.name] for one in trainings if one.entry.name in found["failed"]}

    monkeypatch.setattr(demo, "CONFIG", toy_run.make_configs(tmp_path) / "rdrop.yaml")
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(at_once, "run_all", run_all)
    return found


def test_both_runs_train_at_once_in_the_folders_of_train_sh(at_work, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(launch, "ROOT", tmp_path)
    runs = demo.train(3)
    assert {name: run.path for name, run in runs.items()} == {
        name: launch.default_folder(tmp_path / f"demo/{name}.yaml", 3).path for name in ("baseline", "rdrop")
    }
    assert [training.overrides for training in at_work["trainings"]] == [[], []]
    assert [training.run for training in at_work["trainings"]] == list(runs.values())
    configs = [training.config for training in at_work["trainings"]]
    assert configs == [tmp_path / "baseline.yaml", tmp_path / "rdrop.yaml"]
    assert len(at_work["slots"]) == 2 and capsys.readouterr().out == "at work\n"


def test_a_failure_is_said_with_its_reason(at_work, capsys):
    at_work["failed"] = {"rdrop": "training failed: out of memory"}
    with pytest.raises(SystemExit, match=r"^1 of 2 runs failed; the same command tries them again$"):
        demo.train(1)
    assert capsys.readouterr().err.endswith(": rdrop seed 1: training failed: out of memory\n")


# The demo, with trainings that wait for long
PROGRAM = """
import sys
from pathlib import Path
from recipes import children, cli, demo
from support.made_up_study import training
command = children.command
children.command = lambda *_: command("timeit", "-n1", "-r1", "import time; time.sleep(1000)")
demo.run_script = lambda *_: None
demo.plan = lambda *_: [training(Path(sys.argv[1]) / name) for name in ("baseline", "rdrop")]
cli.run(demo.main, "demo.sh", [])
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_trainings_end_with_the_demo(number, tmp_path):
    env = settings()["env"] | {"PYTHONPATH": f"{SCRIPTS}:{SCRIPTS.parent / 'tests'}"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)

    def trainings():
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
        return list(map(int, found.stdout.split()))

    wait_until(lambda: len(trainings()) == 2, lambda: process.poll() is None)
    numbers = trainings()
    process.send_signal(number)
    _, errors = process.communicate(timeout=HANG)
    wait_until(lambda: all(map(is_gone, numbers)))
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert errors == "demo.sh: interrupted; the same command goes on where it was\n"


def test_the_demo_ends_after_the_script_that_it_ends(tmp_path, monkeypatch):
    (tmp_path / "scripts").mkdir()
    slow = tmp_path / "scripts/slow.sh"
    slow.write_text("#!/bin/sh\ntrap 'kill $!; sleep 1; echo >ended; exit' TERM\nsleep 1000 & kill -INT $PPID; wait\n")
    slow.chmod(0o755)
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        demo.run_script("slow.sh")
    assert (tmp_path / "ended").exists()


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


def test_the_sentence_that_the_demo_proposes_is_new_and_of_known_words():
    text = (TEXT / "train.de").read_text(encoding="utf-8")
    assert demo.SENTENCE not in text
    assert set(demo.SENTENCE.strip(".").split()) <= set(text.replace(".", " ").split())


def test_the_demo_prepares_trains_reports_and_says_how_to_translate(runs, monkeypatch, capsys):
    called = []
    monkeypatch.setattr(demo, "run_script", lambda *words: called.append(words))
    monkeypatch.setattr(demo, "train", lambda seed: called.append(seed) or runs)
    monkeypatch.setattr(demo, "print_translations", called.append)
    demo.main(["--seed", "3"])
    report = ("report.py", "--out", "runs/demo/report3", str(runs["baseline"]), str(runs["rdrop"]))
    assert called == [("prepare_demo.sh",), 3, runs, report]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f'    echo "{demo.SENTENCE}" | scripts/translate.sh {runs["rdrop"]}'


def test_demo_sh_prints_its_header_as_help_and_refuses_in_one_line():
    result = run("demo.sh", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "\nUsage: scripts/demo.sh [--seed N]\n" in result.stdout
    assert "--seed: must be an integer >= 0, not 'one'" in refused("demo.sh", "--seed", "one")
    assert "unrecognized arguments: --seeds" in refused("demo.sh", "--seeds")
