"""scripts/train.sh, evaluate_translation.sh and report.py: one run folder, whole, killed, resumed, scored, reported."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from toy_run import SCRIPTS, make_configs, refused, run, settings
from waiting import wait_until

sys.path.append(str(SCRIPTS))
import report


def losses(run_folder: Path) -> dict[int, dict[str, float]]:
    """What was logged of each update, without times."""
    return {
        update: {key: log[key] for key in ("loss", "nll_loss", "gnorm", "kl_loss")}
        for update, log in report.read_log(run_folder / "train.log")["train_inner"].items()
    }


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configs baseline.yaml and rdrop.yaml of a prepared data set."""
    return make_configs(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def whole(configs: Path) -> Path:
    """The folder of an uninterrupted R-Drop run."""
    folder = configs / "runs/rdrop/seed3"
    result = run("train.sh", configs / "rdrop.yaml", "--seed", 3, "--out", folder)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    assert "Next: scripts/evaluate_translation.sh" in result.stdout
    return folder


@pytest.fixture(scope="module")
def scored(whole: Path) -> str:
    """What evaluate_translation.sh printed of the run."""
    result = run("evaluate_translation.sh", whole)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_a_run_folder_holds_config_log_checkpoints_versions_and_tensorboard(whole):
    assert "seed: 3" in (whole / "train.yaml").read_text()
    assert sorted(losses(whole)) == list(range(1, 26))
    assert {"checkpoint_best.pt", "checkpoint_last.pt"} < {path.name for path in (whole / "checkpoints").iterdir()}
    versions = (whole / "versions.txt").read_text()
    assert f"python {sys.version.split()[0]}" in versions and "fairseq-fixed 0.12.3.1" in versions
    assert any((whole / "tensorboard").rglob("events.out.tfevents*"))


def test_a_killed_run_resumes_and_ends_with_the_losses_of_an_uninterrupted_one(configs, whole):
    folder = configs / "runs/rdrop/killed"
    command = [str(SCRIPTS / "train.sh"), str(configs / "rdrop.yaml"), "--seed", "3", "--out", str(folder)]
    env = settings()["env"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, process_group=0)
    wait_until(lambda: list(folder.glob("checkpoints/checkpoint_*_10.pt")), lambda: process.poll() is None)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = set(losses(folder))
    assert before and max(before) < 25
    last = folder / "checkpoints/checkpoint_last.pt"
    if last.exists():  # as if the kill had come while it was written
        last.write_bytes(last.read_bytes()[:-100])
    result = subprocess.run(command, capture_output=True, text=True, **settings())
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    assert "is cut short" in result.stdout
    assert losses(folder) == losses(whole)


def test_another_config_in_the_same_folder_is_refused_and_nothing_changes(configs, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    line = refused("train.sh", configs / "rdrop.yaml", "--seed", 3, "--out", whole, "optimization.lr=[0.5]")
    assert "optimization.lr ([0.01] there, [0.5] now)" in line and "--out" in line
    line = refused("train.sh", configs / "baseline.yaml", "--seed", 3, "--out", whole)
    assert "criterion._name" in line
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*")}


def test_a_report_has_the_numbers_of_the_run(whole, scored, tmp_path):
    runs = [whole, shutil.copytree(whole, whole.parent / "seed4", dirs_exist_ok=True)]
    result = subprocess.run(
        [sys.executable, SCRIPTS / "report.py", "--out", tmp_path, *runs], capture_output=True, text=True, check=True
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.stdout.splitlines()]
    bleu = json.loads((whole / "evaluation/best/made_up.json").read_text())["bleu"]
    row = dict(zip(rows[0], rows[2], strict=True))
    assert (row["run"], row["seed"], row["updates"], row["made_up BLEU"]) == ("rdrop", "3", "25", f"{bleu:.2f}")
    assert dict(zip(rows[0], rows[4], strict=True))["made_up BLEU"] == f"{bleu:.2f} ± 0.00"
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    curve = json.loads((tmp_path / "runs.json").read_text())[0]["curve"]
    assert [point["update"] for point in curve] == [5, 10, 15, 20, 25]


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "no config given"),
        (["configs/nothing.yaml"], "there is no config configs/nothing.yaml"),
        (["CONFIG", "--seed", "one"], "--seed must be an integer >= 0, not 'one'"),
        (["CONFIG", "--seed"], "--seed needs a value"),
        (["CONFIG", "--sed", "1"], "unknown option"),
        (["CONFIG", "CONFIG"], "two configs"),
        (["CONFIG", "task.data=/nowhere"], "task.data /nowhere: no such folder"),
        (["BROKEN"], "broken.yaml"),
    ],
)
def test_train_refuses(configs, tmp_path, options, words):
    (tmp_path / "broken.yaml").write_text("common: {seed: 1\n")
    names = {"CONFIG": str(configs / "rdrop.yaml"), "BROKEN": str(tmp_path / "broken.yaml")}
    out = tmp_path / "run"
    assert words in refused("train.sh", "--out", out, *(names.get(option, option) for option in options))
    assert not out.exists()
