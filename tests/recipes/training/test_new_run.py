"""What a run folder is made with, what may change in it, and who may work in it."""

import os
import shutil
import subprocess

import pytest
from recipes import files, versions
from recipes.cli import ROOT
from recipes.training import new_run
from recipes.training.run_folder import RunFolder
from recipes.training.settings import flat


@pytest.fixture
def made(configs, tmp_path):
    """Make the folder of a run, with other values than the config's; return what its train.yaml says."""

    def make(*overrides: str) -> dict[str, object]:
        run = RunFolder(tmp_path / "run")
        new_run.make_folder(new_run.run_config(configs / "rdrop.yaml", run, 1, list(overrides)), run)
        return flat(run.config)

    return make


def test_a_folder_in_the_repository_has_a_relative_name(configs, tmp_path):
    assert new_run.name_of(RunFolder(ROOT / "runs/a/seed1")) == "runs/a/seed1"
    assert new_run.name_of(RunFolder(tmp_path / "b/../a")) == str(tmp_path / "a")
    cfg = new_run.run_config(configs / "rdrop.yaml", RunFolder(ROOT / "runs/a"), 1, [])
    assert (cfg.checkpoint.save_dir, cfg.common.tensorboard_logdir) == ("runs/a/checkpoints", "runs/a/tensorboard")


def test_a_start_that_came_to_nothing_blocks_nothing(made, tmp_path):
    made("optimization.lr=[7]")
    for name in ("train.log", "conditions.json"):
        (tmp_path / "run" / name).write_text("of this start\n")
    assert made("optimization.lr=[0.5]", "model.dropout=0.1")["optimization.lr"] == [0.5]
    for name in ("train.log", "conditions.json"):
        assert not (tmp_path / "run" / name).exists()
        assert (tmp_path / "run" / f"{name}.1").read_text() == "of this start\n"


def test_limits_and_logs_can_change_in_a_run_that_has_trained(made, tmp_path, checkpoint):
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
def test_max_update_cannot_change_where_the_learning_rate_ends_with_it(made, tmp_path, checkpoint, scheduler, is_free):
    made("lr_scheduler=null", scheduler)
    checkpoint(tmp_path / "run/checkpoints/checkpoint_last.pt", 5)
    if is_free:
        made("lr_scheduler=null", scheduler, "optimization.max_update=99")
    else:
        with pytest.raises(SystemExit, match=r"optimization.max_update \(25 there, 99 now\)"):
            made("lr_scheduler=null", scheduler, "optimization.max_update=99")


def test_data_with_other_dictionaries_is_refused(made, tmp_path, checkpoint, configs):
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


def test_without_git_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert versions.versions().startswith("rdrop_fairseq unknown\n")


@pytest.mark.parametrize("path, words", [("a:b", "with ':' in its path"), ("a${b}", "with '${' in its path")])
def test_a_run_folder_that_fairseq_cannot_use_is_refused(configs, tmp_path, path, words):
    with pytest.raises(SystemExit) as caught:
        new_run.run_config(configs / "rdrop.yaml", RunFolder(tmp_path / path), 1, [])
    assert words in str(caught.value)


def test_a_second_training_in_a_folder_is_refused_as_long_as_a_process_of_the_first_lives(
    configs, tmp_path, monkeypatch
):
    monkeypatch.setattr(new_run, "PATIENCE", 0.3)
    run = RunFolder(tmp_path / "run")
    cfg = new_run.run_config(configs / "rdrop.yaml", run, 1, [])
    [lock] = new_run.open_folder(cfg, run, 0)
    child = subprocess.Popen(["sleep", "100"], pass_fds=[lock])
    os.close(lock)
    with pytest.raises(SystemExit, match=f"another training is at work in {run}"):
        new_run.open_folder(cfg, run, 0)
    child.kill()
    child.wait()
    [lock] = new_run.open_folder(cfg, run, 0)
    assert files.lock(run.path / ".lock", 0) is None
    os.close(lock)


def test_rank_0_that_never_comes_is_said(configs, tmp_path, monkeypatch):
    monkeypatch.setattr(new_run, "WAIT_FOR_RANK_0", 0.1)
    run = RunFolder(tmp_path / "run")
    cfg = new_run.run_config(configs / "rdrop.yaml", run, 1, [])
    with pytest.raises(SystemExit, match="do all machines see the same folder"):
        new_run.open_folder(cfg, run, 1)
    new_run.make_folder(new_run.run_config(configs / "rdrop.yaml", run, 1, ["model.dropout=0.1"]), run)
    with pytest.raises(SystemExit, match="of this config, which rank 0 makes"):
        new_run.open_folder(cfg, run, 1)
    new_run.make_folder(cfg, run)
    assert new_run.open_folder(cfg, run, 1) == []


@pytest.mark.parametrize(
    "text", [b"- a list\n", b"common: {seed: 1\n", b"\xff\x00\x80", b"optimization: [1]\n", b"task: {data: '${x}'}"]
)
@pytest.mark.parametrize("name", ["config", "run"])
def test_a_broken_file_of_settings_is_named_in_one_line(configs, tmp_path, checkpoint, text, name):
    config, run = configs / "rdrop.yaml", RunFolder(tmp_path / "run")
    broken = tmp_path / "other.yaml" if name == "config" else run.train_yaml
    checkpoint(run.last, 5)
    broken.write_bytes(text)
    with pytest.raises(SystemExit) as caught:
        cfg = new_run.run_config(broken if name == "config" else config, run, 1, [])
        new_run.check_data(cfg, config)
        new_run.make_folder(cfg, run)
    assert "\n" not in str(caught.value)
    assert str(broken) in str(caught.value) or "task.data" in str(caught.value) or "another config" in str(caught.value)


def test_a_translation_run_keeps_what_translating_needs_of_its_data(made, tmp_path, checkpoint):
    kept = tmp_path / "run/prepared"

    def content() -> dict[str, str]:
        return {str(path.relative_to(kept)): path.read_text() for path in kept.rglob("*") if path.is_file()}

    (tmp_path / "configs/bpe").mkdir()
    (tmp_path / "configs/bpe/codes").write_text("of a start that came to nothing")
    made()
    (tmp_path / "configs/bpe/codes").write_text("of the run")
    (tmp_path / "configs/settings.json").write_text("{}")
    made()
    dictionaries = {f"bin/{path.name}": path.read_text() for path in (tmp_path / "configs/bin").glob("dict.*.txt")}
    of_run = {"settings.json": "{}", "bpe/codes": "of the run", **dictionaries}
    assert content() == of_run and len(dictionaries) == 2
    checkpoint(tmp_path / "run/checkpoints/checkpoint_last.pt", 5)
    (tmp_path / "configs/bpe/codes").write_text("of something later")
    made()
    assert content() == of_run
    assert not list((tmp_path / "run").glob(".*.part"))
    shutil.rmtree(kept)  # a run that an early version started gets it when it goes on
    made()
    assert content() == of_run | {"bpe/codes": "of something later"}
    run = RunFolder(tmp_path / "run")
    assert run.preparation == (kept, kept / "bin")
    shutil.rmtree(kept)
    assert run.preparation == (tmp_path / "configs", tmp_path / "configs/bin")


def test_a_run_of_another_kind_keeps_nothing(made, tmp_path):
    made("task._name=language_modeling")
    assert not (tmp_path / "run/prepared").exists()
