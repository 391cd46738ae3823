"""study.sh from the runs to the table, on a toy: what it trains, goes on with, and leaves; failures and signals."""

import json
import os
import re
import shlex
import signal
from argparse import Namespace
from pathlib import Path

import pytest
from recipes import versions
from recipes.files import lock
from recipes.studies import at_once, command
from recipes.studies.study import find_study
from support import command_line, toy_run
from support.in_process import refused
from support.made_up_study import write_study
from support.waiting import wait_until

STUDY = "support.forked_study"  # study.sh, much faster
QUICK = ("optimization.max_update=4", "dataset.validate_interval_updates=2", "checkpoint.save_interval_updates=2")
ENTRIES = """
figure: {kind: curves}
equal_time: true
entries:
  baseline: {config: baseline}
  rdrop: {set: {criterion.rdrop_alpha: 2.0}}
  tuned: {from: baseline}
"""
SEEDS = ("--seeds", "1", "--seeds-of", "baseline=1,2")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the config with R-Drop; its data and a study are beside it."""
    folder = toy_run.make_configs(tmp_path_factory.mktemp("toy"))
    write_study(folder / "toy.yaml", ENTRIES)
    return folder / "rdrop.yaml"


def started(config: Path, *options: object, study: str = "toy") -> command_line.Running:
    """Start a study whose runs and results are beside the config."""
    folder = config.parent
    where = ("--runs", folder / "runs", "--out", folder / "out")
    return command_line.start(STUDY, folder / f"{study}.yaml", config, *where, *options)


def ran(config: Path, *options: object, study: str = "toy") -> command_line.Result:
    """Run a study to its end."""
    return started(config, *options, study=study).result()


@pytest.fixture(scope="module")
def whole(config: Path) -> str:
    """Return what a study has printed that went to its end."""
    result = ran(config, *SEEDS, *QUICK)
    assert (result.status, result.stderr) == (0, ""), result.stdout + result.stderr
    return result.stdout


def test_each_run_is_one_of_train_sh_with_its_differences_and_is_scored(config, whole):
    runs = config.parent / "runs"
    assert sorted(str(path.relative_to(runs)) for path in runs.glob("*/*")) == [
        *("baseline/seed1", "baseline/seed2", "rdrop/seed1", "tuned/seed1")
    ]
    for path in runs.glob("*/*"):
        assert (path / "finished.yaml").exists() and (path / "evaluation/best/made_up.json").exists()
        assert f"seed: {path.name[-1]}\n" in (path / "train.yaml").read_text()
    assert "rdrop_alpha: 2.0" in (runs / "rdrop/seed1/train.yaml").read_text()
    started_from = (runs / "tuned/seed1/started_from.txt").read_text()
    assert started_from.endswith(f"{runs}/baseline/seed1/checkpoints/checkpoint_best.pt\n")


def test_it_says_how_far_it_is_and_ends_with_tables_and_a_figure(config, whole):
    lines = whole.splitlines()
    assert re.fullmatch(r"Toy: 4 runs, \d at once on the CPU", lines[0])
    assert lines[1] == "0 of 4 runs done, 4 left."
    done = [line for line in lines if " is done. " in line]
    assert len(done) == 4 and done[-1].endswith("4 of 4 runs done, 0 left.")
    assert re.search(r" seed 1 is done\. 1 of 4 runs done, 3 left, about \d:\d\d:\d\d to go\.", done[0])
    out = config.parent / "out"
    assert (out / "figure.png").read_bytes().startswith(b"\x89PNG")
    table = (out / "table.md").read_text()
    words = [config.parent / "toy.yaml", config, "--runs", config.parent / "runs", "--out", out, *SEEDS, *QUICK]
    assert table.splitlines()[:4] == ["# Toy", "", f"Written by `scripts/study.sh {shlex.join(map(str, words))}`.", ""]
    assert table in whole and "## made_up sacreBLEU (higher is better)" in table and "## Time" in table
    found = json.loads((out / "study.json").read_text())
    scored = json.loads((config.parent / "runs/rdrop/seed1/evaluation/best/made_up.json").read_text())
    (run,) = (run for run in found["runs"] if (run["entry"], run["seed"]) == ("rdrop", 1))
    assert run["scores"]["made_up sacreBLEU"] == run["tests"]["made_up"]["bleu"] == scored["bleu"]
    assert run["overrides"] == [*QUICK, "criterion.rdrop_alpha=2.0"]
    (part,) = run["conditions"]
    assert part["device"] == versions.cpu() and part["threads"].isdigit()
    assert 1 <= part["runs"] == part["runs_on_device"] <= 4 and part["seconds"] > 0
    assert "\n- Trained " in table and "Not known" not in table
    (tuned,) = (run for run in found["runs"] if run["entry"] == "tuned")
    assert len(tuned["conditions"]) == 2  # with those of the baseline that it starts from


def test_runs_of_another_machine_count_and_are_not_trained_here(config, whole, tmp_path):
    out = config.parent / "out"
    there = ("--with", out / "study.json", "--runs", tmp_path / "runs", "--out", tmp_path / "out")
    result = ran(config, *SEEDS, *QUICK, *there)
    assert (result.status, result.stderr) == (0, "") and not (tmp_path / "runs").exists()
    assert result.stdout.startswith("# Toy\n")
    own, other = ((folder / "out/table.md").read_text().splitlines() for folder in (tmp_path, config.parent))
    assert f" --with {out}/study.json" in own.pop(2) and other.pop(2) and own == other
    found = json.loads((tmp_path / "out/study.json").read_text())
    assert found | {"with": []} == json.loads((out / "study.json").read_text())
    assert found["with"] == [f"{out}/study.json"]
    assert (tmp_path / "out/figure.png").exists()
    result = ran(config, "--seeds", "1,5", "--entries", "rdrop", *QUICK, *there)
    assert (result.status, result.stderr) == (0, "")
    assert sorted(str(path.relative_to(tmp_path / "runs")) for path in (tmp_path / "runs").glob("*/*")) == [
        "baseline/seed5",
        "rdrop/seed5",
    ]
    found = json.loads((tmp_path / "out/study.json").read_text())["runs"]
    assert [(run["seed"], run["entry"]) for run in found] == [
        *((1, "baseline"), (1, "rdrop"), (2, "baseline"), (5, "baseline"), (5, "rdrop"))
    ]
    # A run that is here counts, and not that of the file.
    other = json.loads((out / "study.json").read_text())
    for run in other["runs"]:
        run["scores"] = dict.fromkeys(run["scores"], 99.0)
    (tmp_path / "other.json").write_text(json.dumps(other))
    result = ran(config, *SEEDS, *QUICK, "--with", tmp_path / "other.json", "--out", tmp_path / "out")
    assert result.status == 0 and "99.00" not in (tmp_path / "out/table.md").read_text()


def test_finished_runs_stay_and_one_that_fails_is_named_while_the_others_stand(config, whole):
    entries = "baseline: {config: baseline}, broken: {set: {model.encoder.attention_heads: 3}}, next: {from: broken}"
    write_study(config.parent / "broken.yaml", f"entries: {{{entries}}}")
    runs = config.parent / "runs"
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    result = ran(config, "--seeds", "1", *QUICK, study="broken")
    assert result.status == 1 and result.stdout.startswith("Toy: 3 runs, ")
    assert "1 of 3 runs done, 2 left." in result.stdout and "| broken   | 0 | not run" in result.stdout
    log = runs / "broken/seed1/train.log"
    broken, following, last = result.stderr.splitlines()
    assert broken.startswith("study.sh: broken seed 1: train.sh: training failed: ") and f"The log is {log}" in broken
    assert following == f"study.sh: next seed 1: it starts from {runs}/broken/seed1, which failed"
    assert last == "study.sh: 2 of 3 runs failed; the same command tries them again"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    found = json.loads((config.parent / "out/study.json").read_text())
    assert set(found["failed"]) == {"broken seed 1", "next seed 1"} and len(found["runs"]) == 1


def lost_updates(log: Path) -> int:
    """Return the last update in a log."""
    return int(re.findall(r'num_updates": "(\d+)"', log.read_text())[-1])


def test_a_stopped_study_ends_its_runs_and_goes_on_with_them(config, whole):
    """^C, and then a kill; the data and the configs are those of the other tests."""
    run = config.parent / "runs/baseline/seed9"
    options = ("--seeds", "9", "--jobs", "1", *QUICK[1:])
    conditions = run / "conditions.json"
    for start, number in enumerate((signal.SIGINT, signal.SIGKILL)):
        process = started(config, *options, "optimization.max_update=1000000")
        log = run / "train.log"
        begin = lost_updates(log) if log.exists() else 0
        wait_until(lambda: log.exists() and "Saved" in log.read_text() and lost_updates(log) > begin + 4)  # noqa: B023
        wait_until(lambda: conditions.exists() and f'"{start}": {{' in conditions.read_text())  # noqa: B023
        os.kill(process.process.pid, number)
        result = process.result()
        assert result.status == (130 if number == signal.SIGINT else -number)
        said = "study.sh: interrupted; the same command goes on where it was\n"
        assert result.stderr == (said if number == signal.SIGINT else "")
        held = lock(run / ".lock", 60)  # the training holds it as long as it lives
        assert held is not None
        os.close(held)
    write_study(config.parent / "alone.yaml", "entries: {baseline: {config: baseline}}")
    last = lost_updates(run / "train.log") + 10
    result = ran(config, *options, f"optimization.max_update={last}", study="alone")
    assert (result.status, result.stderr) == (0, "")
    text = (run / "train.log").read_text()
    parts = json.loads(conditions.read_text())
    assert [(number, part["runs"]) for number, part in parts.items()] == [(number, 1) for number in "012"]
    assert text.count("Loaded checkpoint") == 2 and lost_updates(run / "train.log") == last


def test_entries_that_are_left_out_have_no_seeds():
    study = find_study("time")
    args = Namespace(entries=["from_baseline"], seeds=[1, 2], seeds_of=[("rdrop", [3]), ("baseline", [1, 2, 3])])
    found = command.seeds_by_entry(study, args)
    assert {name: seeds for name, seeds in found.items() if seeds} == {"baseline": [1, 2, 3], "from_baseline": [1, 2]}
    assert found.keys() == study.entries.keys()


def test_bad_arguments_are_refused_in_one_line(config, monkeypatch):
    study = config.parent / "toy.yaml"
    assert refused(command.main, "nope", config).startswith("there is no study nope; there are: alpha ")
    assert refused(command.main, "alpha", "nope.yaml") == "there is no config nope.yaml"
    assert refused(command.main, study, config, "word").startswith("word is no key=value")
    for seeds in ("1,x", "", "-1"):
        assert "--seeds: must be an integer >= 0" in refused(command.main, study, config, f"--seeds={seeds}")
    assert "must be ENTRY=SEED,SEED,..., not '1,2'" in refused(command.main, study, config, "--seeds-of", "1,2")
    assert refused(command.main, study, config, "--seeds-of", "x=1") == (
        "--seeds-of x: the study has no such entry; it has baseline rdrop tuned"
    )
    assert refused(command.main, study, config, "--entries", "rdrop,x").startswith("--entries x: the study has no such")
    assert "--jobs: must be a positive integer, not '0'" in refused(command.main, study, config, "--jobs", "0")
    monkeypatch.setattr(at_once, "run_all", None)  # nothing is trained
    where = ("--runs", config.parent / "none")
    assert refused(command.main, study, config, *where, "common.fp16=true").startswith("common.fp16 needs a GPU")
    wrong = refused(command.main, study, config, *where, "criterion.rdrop_passes=0")
    assert wrong.startswith("rdrop (criterion.rdrop_passes=0 criterion.rdrop_alpha=2.0): --rdrop-passes 0: must be")
    assert not (config.parent / "none").exists()


def test_the_configs_of_a_folder_without_a_baseline_are_of_several_data_sets(tmp_path):
    assert command.place_of(tmp_path / "glue/rte.yaml") == Path("glue/rte")
    (tmp_path / "iwslt").mkdir()
    (tmp_path / "iwslt/baseline.yaml").touch()
    assert command.place_of(tmp_path / "iwslt/rdrop.yaml") == Path("iwslt")
