"""scripts/train.sh, evaluate_translation.sh and report.py: one run folder, whole, killed, resumed, scored, reported."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from recipes import versions
from recipes.evaluation import report
from recipes.training import checkpoints, launch, new_run
from recipes.training import settings as run_settings
from recipes.training.reason import Reason
from support import command_line
from support.toy_run import SCRIPTS, make_configs, refused, run, settings
from support.waiting import wait_until


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
    said = (whole / "versions.txt").read_text()
    assert f"python {sys.version.split()[0]}" in said and "fairseq-fixed 0.12.3.1" in said
    assert any((whole / "tensorboard").rglob("events.out.tfevents*"))
    data = whole.parents[2] / "bin"
    known = {name: hashlib.sha256((data / name).read_bytes()).hexdigest() for name in ("dict.de.txt", "dict.en.txt")}
    assert (whole / "dictionaries.txt").read_text() == "".join(f"{known[name]}  {name}\n" for name in known)


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
    longer = subprocess.run([*command, "optimization.max_update=27"], capture_output=True, text=True, **settings())
    assert longer.returncode == 0, longer.stdout[-3000:] + longer.stderr
    assert max(losses(folder)) == 27
    assert "max_update: 27" in (folder / "train.yaml").read_text()


def test_another_config_in_the_same_folder_is_refused_and_nothing_changes(configs, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    line = refused("train.sh", configs / "rdrop.yaml", "--seed", 3, "--out", whole, "optimization.lr=[0.5]")
    assert "optimization.lr ([0.01] there, [0.5] now)" in line and "--out" in line
    line = refused("train.sh", configs / "baseline.yaml", "--seed", 3, "--out", whole)
    assert "criterion._name" in line
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*")}


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """When each file was written, and what it holds."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def launched(config: Path, folder: Path, *overrides: str) -> command_line.Result:
    """What train.sh does once it has found Python, with seed 3."""
    argv = ("launch", "--seed=3", config, folder, *overrides)
    return command_line.run("support.script_entry", *argv, cwd=command_line.ROOT, succeeds=False)


@pytest.mark.parametrize(
    "made_before, overrides",
    [
        (False, []),
        (True, []),
        (False, ["optimization.max_update=20"]),
        (True, ["optimization.max_update=20", "common.log_interval=7"]),
        (True, ["optimization.max_update=100", "optimization.max_epoch=2"]),
    ],
)
def test_a_finished_run_started_again_is_left_as_it_is(configs, whole, made_before, overrides):
    finished = whole / checkpoints.FINISHED
    text = finished.read_text()
    if made_before:  # by a version that did not write it
        finished.unlink()
    try:
        before = contents(whole)
        result = launched(configs / "rdrop.yaml", whole, *overrides)
        assert result.status == 0, result.stderr
        assert f"{whole} is finished, and stays as it is" in result.stdout
        assert contents(whole) == before
    finally:
        finished.write_text(text)


def test_train_sh_on_a_finished_run_ends_with_status_0(configs, whole):
    before = contents(whole)
    result = run("train.sh", configs / "rdrop.yaml", "--seed", 3, "--out", whole)
    assert (result.returncode, result.stderr) == (0, "")
    assert "is finished" in result.stdout and contents(whole) == before


# What a run is made with, and what may change


def checkpoint(path: Path, updates: int, **state: object) -> None:
    """Write what is asked of a checkpoint of fairseq."""
    extra = {"train_iterator": {"epoch": 1 + updates // 10}, "previous_training_time": 360.0 * updates}
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = {"optimizer_history": [{"num_updates": updates}], "extra_state": extra, "last_optimizer_state": {}}
    torch.save(parts | state, path)


@pytest.fixture
def made(configs: Path, tmp_path: Path):
    """Make the folder of a run, with other values than the config's; return what its train.yaml says."""

    def make(*overrides: str) -> dict[str, object]:
        cfg = new_run.run_config(configs / "rdrop.yaml", tmp_path / "run", 1, list(overrides))
        new_run.make_folder(cfg, tmp_path / "run")
        return run_settings.flat(run_settings.read(tmp_path / "run/train.yaml"))

    return make


def test_a_start_that_came_to_nothing_blocks_nothing(made, tmp_path):
    made("optimization.lr=[7]")
    (tmp_path / "run/train.log").write_text("of this start\n")
    assert made("optimization.lr=[0.5]", "model.dropout=0.1")["optimization.lr"] == [0.5]
    assert not (tmp_path / "run/train.log").exists()
    assert (tmp_path / "run/train.log.1").read_text() == "of this start\n"


def test_limits_and_logs_can_change_in_a_run_that_has_trained(made, tmp_path):
    made()
    checkpoint(tmp_path / "run/checkpoints/checkpoint_last.pt", 5)
    (tmp_path / "run/train.log").write_text("of 5 updates\n")
    changes = ["optimization.max_update=99", "optimization.max_epoch=9", "checkpoint.patience=3"]
    now = made(*changes, "optimization.stop_time_hours=2.5", "common.log_interval=50")
    assert (now["optimization.max_update"], now["checkpoint.patience"], now["common.log_interval"]) == (99, 3, 50)
    assert (tmp_path / "run/train.log").exists()
    with pytest.raises(SystemExit, match=r"another config: model.dropout \(0.3 there, 0.1 now\); use another --out"):
        made("model.dropout=0.1", "optimization.max_update=99")


@pytest.mark.parametrize(
    "scheduler, is_free",
    [
        ("lr_scheduler._name=cosine", False),
        ("lr_scheduler=polynomial_decay", False),
        ("lr_scheduler={_name: polynomial_decay, total_num_update: 50}", True),
        ("lr_scheduler._name=inverse_sqrt", True),
    ],
)
def test_max_update_cannot_change_where_the_learning_rate_ends_with_it(made, tmp_path, scheduler, is_free):
    made("lr_scheduler=null", scheduler)
    checkpoint(tmp_path / "run/checkpoints/checkpoint_last.pt", 5)
    if is_free:
        made("lr_scheduler=null", scheduler, "optimization.max_update=99")
    else:
        with pytest.raises(SystemExit, match=r"optimization.max_update \(25 there, 99 now\)"):
            made("lr_scheduler=null", scheduler, "optimization.max_update=99")


def test_data_with_other_dictionaries_is_refused(made, tmp_path, configs):
    data = shutil.copytree(configs / "bin", tmp_path / "bin")
    made(f"task.data={data}")
    words = (data / "dict.de.txt").read_text().splitlines(keepends=True)
    (data / "dict.de.txt").write_text("".join(words[::-1]))
    made(f"task.data={data}")  # nothing is trained yet
    checkpoint(tmp_path / "run/checkpoints/checkpoint_last.pt", 5)
    made(f"task.data={data}")
    (data / "dict.de.txt").write_text("".join(words))
    with pytest.raises(SystemExit, match=r"bin has other dictionaries than .*dictionaries.txt says"):
        made(f"task.data={data}")


@pytest.mark.parametrize(
    "limits, finished",
    [
        ({"max_update": 30}, True),
        ({"max_update": 31}, False),
        ({"max_epoch": 3}, True),
        ({"max_epoch": 4}, False),
        ({"stop_time_hours": 2.9}, True),
        ({"stop_time_hours": 3.1, "max_update": 0}, False),
    ],
)
def test_a_checkpoint_says_whether_a_run_is_finished(tmp_path, limits, finished):
    checkpoint(tmp_path / "checkpoints/checkpoint_last.pt", 30)
    assert checkpoints.is_finished(OmegaConf.create({"optimization": limits}), tmp_path) is finished


def test_a_run_that_ended_early_is_finished_until_another_limit_is_given(tmp_path):
    checkpoint(tmp_path / "checkpoints/checkpoint_best.pt", 30)
    cfg = OmegaConf.create({"checkpoint": {"patience": 2}, "optimization": {"max_update": 1000}})
    new_run.note_finished(cfg, tmp_path)
    assert checkpoints.is_finished(cfg, tmp_path)
    cfg.checkpoint.patience = 5
    assert not checkpoints.is_finished(cfg, tmp_path)


@pytest.mark.parametrize("last", [None, b"PK\x03\x04cut"])
def test_the_newest_whole_checkpoint_takes_the_place_of_the_last_one(tmp_path, last, capsys):
    folder = tmp_path / "checkpoints"
    checkpoint(folder / "checkpoint_1_20.pt", 20)
    checkpoint(folder / "checkpoint_best.pt", 25)
    checkpoint(folder / "checkpoint2.pt", 10)
    checkpoint(folder / "checkpoint_average.pt", 40, last_optimizer_state=None)
    (folder / "checkpoint_1_30.pt").write_bytes((folder / "checkpoint2.pt").read_bytes()[:-40])
    if last:
        (folder / "checkpoint_last.pt").write_bytes(last)
    checkpoints.mend_last_checkpoint(tmp_path)
    assert "going on from checkpoint_best.pt" in capsys.readouterr().out
    assert (folder / "checkpoint_last.pt").read_bytes() == (folder / "checkpoint_best.pt").read_bytes()


def test_no_whole_checkpoint_is_said(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("last", "1_5", "best"):
        (tmp_path / f"checkpoints/checkpoint_{name}.pt").write_bytes(b"PK")
    with pytest.raises(
        SystemExit, match=r"is cut short .* can go on from no other checkpoint; delete .* to start anew"
    ):
        checkpoints.mend_last_checkpoint(tmp_path)


def test_without_git_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert versions.versions().startswith("rdrop_fairseq unknown\n")


@pytest.mark.parametrize(
    "override, words",
    [
        ("common.seed=77", "common.seed=77: leave it out: --seed sets it"),
        ("common.user_dir=mine", "it is the plugin's, rdrop_fairseq"),
        ("common.tensorboard_logdir=/mine", "--out sets it"),
        ("checkpoint.save_dir=/mine", "--out sets it"),
        ("hydra.run.dir=/mine", "hydra.run.dir=/mine: leave it out: train.sh sets it"),
        ("hydra.verbose=true", "hydra.verbose=True: leave it out"),
        (
            "checkpoint.restore_file=/mine.pt",
            "would start from that file each time; checkpoint.finetune_from_model=FILE",
        ),
        ("checkpoint.continue_once=/none.pt", "checkpoint.continue_once=/none.pt: there is no such file"),
        ("checkpoint.finetune_from_model=/none.pt", "checkpoint.finetune_from_model=/none.pt: there is no such file"),
        ("checkpoint.reset_optimizer=true", "it would be reset each time the run goes on"),
        ("checkpoint.no_save=true", "a run needs its checkpoints"),
        ("checkpoint.no_last_checkpoints=true", "a run needs its checkpoints"),
        ("checkpoint.no_save_optimizer_state=true", "a run needs its checkpoints"),
        ("checkpoint.write_checkpoints_asynchronously=true", "a run needs its checkpoints"),
        ("common.suppress_crashes=true", "would look like one that has ended"),
        (
            "distributed_training.distributed_init_method=tcp://one:1",
            "--gpus, --cpu-processes, --nodes and --master set",
        ),
        ("dataset.batch_size=null", "the size of a batch on one GPU is missing: set dataset.max_tokens or dataset.bat"),
        ("optimization.update_freq=[]", "optimization.update_freq=[]: must be a list of positive integers"),
        ("optimization.update_freq=[99999999999999]", "holds more than 1000000000000; use less"),
        ("optimization.max_update=99999999999999999999", "the largest integer allowed is 9223372036854775807"),
        ("optimization=5", "optimization must be a section of settings, not 5"),
        ("task.data=${nothing}", "task.data: Interpolation key"),
        ("task.data=/one:/two", "task.data /one:/two: fairseq takes a colon for the end of a path"),
        ("task=7", "task.data"),
    ],
)
def test_settings_that_do_not_go_with_a_run_are_refused(configs, tmp_path, override, words):
    with pytest.raises(SystemExit) as caught:
        recipe, _ = launch.read_recipe(configs / "rdrop.yaml", tmp_path / "run", 1, [override])
        new_run.check_data(recipe, configs / "rdrop.yaml")
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", [b"- a list\n", b"common: {seed: 1\n", b"\xff\x00\x80", b"optimization: [1]\n", b"task: {data: '${x}'}"]
)
@pytest.mark.parametrize("name", ["config", "run"])
def test_a_broken_file_of_settings_is_named_in_one_line(configs, tmp_path, text, name):
    config = configs / "rdrop.yaml"
    broken = tmp_path / "other.yaml" if name == "config" else tmp_path / "run/train.yaml"
    checkpoint(tmp_path / "run/checkpoints/checkpoint_last.pt", 5)
    broken.write_bytes(text)
    with pytest.raises(SystemExit) as caught:
        cfg = new_run.run_config(broken if name == "config" else config, tmp_path / "run", 1, [])
        new_run.check_data(cfg, config)
        new_run.make_folder(cfg, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert str(broken) in str(caught.value) or "task.data" in str(caught.value) or "another config" in str(caught.value)


@pytest.mark.parametrize("path, words", [("a:b", "with ':' in its path"), ("a${b}", "with '${' in its path")])
def test_a_run_folder_that_fairseq_cannot_use_is_refused(configs, tmp_path, path, words):
    with pytest.raises(SystemExit) as caught:
        new_run.run_config(configs / "rdrop.yaml", tmp_path / path, 1, [])
    assert words in str(caught.value)


# Why a training failed

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1\n    x = f(\n'
HYDRA = (
    "    full_key: a.b\n    reference_type=C\n    object_type=C\n\nSet the environment variable HYDRA_FULL_ERROR=1 for"
)


@pytest.mark.parametrize(
    "printed, reason",
    [
        ("", ""),
        ("[2026-01-01 00:00:00,1][fairseq][INFO] - error: not this\nall is well\n", ""),
        ("error: --rdrop-alpha -1: must be >= 0\n", "error: --rdrop-alpha -1: must be >= 0"),
        ("usage: a [-h]\ntrain.py: error: unrecognized arguments: x\n", "train.py: error: unrecognized arguments: x"),
        (TRACEBACK + "ValueError: too long\n", "ValueError: too long"),
        (TRACEBACK + "AssertionError\n", "AssertionError"),
        (TRACEBACK + "ImportError: \n\nPlease install x\n", "ImportError: Please install x"),
        (TRACEBACK + "KeyboardInterrupt\n", "KeyboardInterrupt"),
        (TRACEBACK + "a.Failed: first\nsecond\n\nthird\n", "a.Failed: first second"),
        (TRACEBACK + "ValueError: first\n\nDuring this:\n\n" + TRACEBACK + "KeyError: 'x'\n", "KeyError: 'x'"),
        ("[rank1]: Traceback (most recent call last):\n[rank1]:   File\n[rank1]: RuntimeError: x\n", "RuntimeError: x"),
        (
            TRACEBACK + "omegaconf.errors.ConfigKeyError: Key 'x'\n" + HYDRA,
            "omegaconf.errors.ConfigKeyError: Key 'x' full_key: a.b",
        ),
        (
            "DEBUG:hydra:x\na\nwarning\nof\nmany\nlines\nError merging 'train' with schema\nValue 'x' is no list\n"
            + HYDRA,
            "Value 'x' is no list full_key: a.b",
        ),
        ("In 'train': no such file\n\nSet the environment variable HYDRA_FULL_ERROR=1 for", "In 'train': no such file"),
    ],
)
def test_the_reason_of_a_failure_is_found_in_what_was_printed(printed, reason):
    found = Reason()
    for line in printed.splitlines(keepends=True):
        found.read(line)
    assert str(found) == reason


@pytest.mark.parametrize(
    "override, words",
    [
        ("optimization.lr=0.001", "full_key: optimization.lr"),
        (
            "dataset.max_tokens_valid=5",
            "a validation sentence is longer: add dataset.max_tokens_valid=N with a larger N",
        ),
    ],
)
def test_a_training_that_cannot_start_says_why(configs, tmp_path, override, words):
    result = launched(configs / "rdrop.yaml", tmp_path / "run", override)
    assert result.status == 1
    line = result.stderr.splitlines()[-1]
    assert line.startswith("training failed: ") and words in line and f"The log is {tmp_path}/run/train.log" in line
    assert not losses(tmp_path / "run")


def test_a_checkpoint_that_cannot_be_loaded_is_named(configs, tmp_path):
    checkpoint(tmp_path / "run/checkpoints/checkpoint_last.pt", 5, model={})
    line = launched(configs / "rdrop.yaml", tmp_path / "run").stderr.splitlines()[-1]
    assert "checkpoint_last.pt the same command goes on from another checkpoint, or starts anew" in line
    assert "goes on from the last checkpoint" not in line


def test_trains_without_tensorboard_in_a_folder_with_odd_signs(configs, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules |= dict.fromkeys(('tensorboard', 'tensorboardX', 'torch.utils.tensorboard'))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = shutil.copy(configs / "rdrop.yaml", tmp_path / "a=b c.yaml")
    data = shutil.copytree(configs / "bin", tmp_path / "d=e, f")
    folder = tmp_path / "g=h, i'j"
    options = (f"task.data={data}", "optimization.max_update=1")
    result = run("train.sh", config, "--out", folder, *options)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    assert "tensorboard is not installed: training goes without its log\n" in result.stdout
    assert (folder / "finished.yaml").exists() and not (folder / "tensorboard").exists()


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
        (["CONFIG", "--seed", "½"], "--seed must be an integer >= 0, not '½'"),
        (["CONFIG", "--seed", "99999999999"], "--seed 99999999999: the largest seed allowed is 2147483647"),
        (["CONFIG", "--node-rank", "²"], "--node-rank must be an integer >= 0, not '²'"),
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
