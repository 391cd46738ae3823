"""benchmarks/: each command runs at its tiny size and leaves a table, its numbers and a plot. No times are checked."""

import gc
import importlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import fp16_training
import inference
import loss
import measure
import pytest
import step
import throughput
from matplotlib.backends.backend_agg import FigureCanvasAgg
from recipes.text import bpe
from support.learned_run import copy_of, learned_once
from support.places import BENCHMARKS, ROOT
from support.toy_run import make_configs, settings

PICTURES = sorted((ROOT / "results").glob("p*/*.png"))


@pytest.fixture(scope="module")
def process():
    """Give a process for all tests here. It is forked from this one, which has imported fairseq already."""
    with ProcessPoolExecutor(1, get_context("fork"), gc.freeze) as pool:
        yield pool


@pytest.fixture
def _one_process(process, monkeypatch):
    """Measure both ways to allocate memory in the same process, because the times do not matter."""
    monkeypatch.setattr(measure, "worker", lambda _: process)


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., str]:
    """Run a benchmark's main with options, and return what it prints."""

    def run(benchmark, *options: object) -> str:
        monkeypatch.setattr(sys, "argv", [f"benchmarks/{benchmark.__name__}.py", *map(str, options)])
        benchmark.main()
        return capsys.readouterr().out

    return run


def facts(out: Path, name: str, printed: str) -> dict:
    """Return the numbers that a benchmark left, once its table and plot are seen."""
    assert (out / f"{name}.md").read_text() in printed
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((out / f"{name}.json").read_text())
    assert any(line.startswith("torch ") for line in found["versions"])
    return found


def check_times(times: list[dict], expected: set[str]) -> None:
    """Each size was timed with both ways to allocate memory, in two rounds."""
    ways = [measure.TRAIN_SH] if measure.DEVICE == "cuda" else [measure.TRAIN_SH, measure.DEFAULT]
    assert [entry["allocator"] for entry in times] == ways * (len(times) // len(ways)) and times
    for entry in times:
        assert expected <= entry["seconds"].keys()
        assert all(len(spent) == 2 and min(spent) > 0 for spent in entry["seconds"].values())


def memory(memory_of: Callable[[dict], int], setting: dict) -> int:
    """Measure memory in a process that has imported fairseq already."""
    return measure.ask(measure.DEFAULT, memory_of, setting)


@pytest.mark.usefixtures("_one_process")
def test_loss(run, tmp_path, monkeypatch):
    monkeypatch.setattr(loss, "measure_memory", memory)
    printed = run(loss, "--quick", "--rounds", 2, "--out", tmp_path)
    found = facts(tmp_path, f"loss_{measure.DEVICE}", printed)
    check_times(found["times"], {"bare products", "R-Drop, fused", "R-Drop, plain", "R-Drop, published formula"})
    check_times(found["adaptive"]["times"], {"bare products", "R-Drop, fused", "R-Drop, plain"})
    (fused,) = found["memory"]
    assert 0 < fused["bytes"] < memory(loss.memory_of, {**fused, "loss": "R-Drop, published formula"})


@pytest.mark.usefixtures("_one_process")
def test_step(run, tmp_path):
    printed = run(step, "--quick", "--rounds", 2, "--out", tmp_path)
    found = facts(tmp_path, f"step_{measure.DEVICE}", printed)
    check_times(found["times"], {"cross-entropy, doubled batch", "R-Drop, fused", "R-Drop, plain"})
    kinds = [kind for kind, _ in itertools.groupby(entry["kind"] for entry in found["times"])]
    assert kinds == ["translation", "language model", "language model with adaptive softmax"]
    setting = {**found["times"][0], "method": "R-Drop, fused", "vocab": 10_000, "tokens": 256}
    plain = {**setting, "method": "cross-entropy, doubled batch"}
    assert 0 < memory(step.memory_of, setting) < memory(step.memory_of, plain)


def malloc_variables(printed: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in printed.splitlines() if line.startswith("MALLOC_"))


def test_a_process_has_the_settings_of_train_sh_and_it_is_said_if_it_ends_early(monkeypatch):
    command = ["env", "-i", "bash", "-c", 'source "$0"; env', ROOT / "scripts/recipes/malloc.sh"]
    of_script = malloc_variables(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert len(of_script) == 3
    with measure.start(measure.malloc_settings(measure.TRAIN_SH)) as pool:
        monkeypatch.setattr(measure, "worker", lambda _: pool)
        assert malloc_variables(measure.ask(measure.TRAIN_SH, subprocess.getoutput, "env")) == of_script
        with pytest.raises(SystemExit, match=r"malloc as train\.sh sets it: the process has ended too early"):
            measure.ask(measure.TRAIN_SH, os._exit, 3)
    assert measure.malloc_settings(measure.DEFAULT) == {}


def test_memory_is_measured_in_a_fresh_process_with_glibcs_own_settings(monkeypatch):
    monkeypatch.setattr(measure, "DEVICE", "cpu")
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    printed = measure.measure_memory(subprocess.getoutput, "env")
    assert malloc_variables(printed) == {} and "THP_MEM_ALLOC_ENABLE=1\n" in printed
    assert "MALLOC_TOP_PAD_" in os.environ


def test_it_is_said_if_memory_cannot_be_measured(capsys, monkeypatch):
    monkeypatch.setattr(measure, "DEVICE", "cpu")
    monkeypatch.setattr(measure, "start", lambda _: ThreadPoolExecutor(1))
    assert measure.measure_memory(int, "no number") is None
    assert "no number: failed: invalid literal" in capsys.readouterr().err


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.stem)
def test_nothing_lies_on_another_in_a_picture_drawn_from_a_result(picture, run, tmp_path, monkeypatch):
    benchmark = importlib.import_module(picture.stem.split("_")[0])
    figures, draw = [], benchmark.draw
    monkeypatch.setattr(benchmark, "draw", lambda facts: figures.append(draw(facts)) or figures[0])
    run(measure, shutil.copy(picture.with_suffix(".json"), tmp_path))
    assert (tmp_path / picture.name).read_bytes().startswith(b"\x89PNG")
    (figure,) = figures
    FigureCanvasAgg(figure)
    boxes = {axes: axes.get_window_extent() for axes in figure.axes}
    texts = [text for axes in figure.axes for text in (*axes.get_yticklabels(), *axes.texts) if text.get_text()]
    boxes |= {text: text.get_window_extent() for text in texts}
    legends = [part.legends for part in (figure, *figure.subfigs)]
    boxes |= {legend: legend.get_window_extent() for legend in itertools.chain(*legends)}
    assert len(boxes) > 10
    for (one, box), (other, of_other) in itertools.combinations(boxes.items(), 2):
        if other in one.get_children():  # the number at a bar
            assert box.xmax >= of_other.xmax
        else:
            assert not box.overlaps(of_other), (one, other)


def report(*options: object, python: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run gpu_report.sh with a Python that is a shell script."""
    (path / "python3").write_text(f"#!/bin/bash\n[[ $* != *'import fairseq'* ]] || exit 0\n{python}\n")
    (path / "python3").chmod(0o755)
    with_it = settings()
    with_it["env"] |= {"PATH": f"{path}:{with_it['env']['PATH']}"}
    command = [BENCHMARKS / "gpu_report.sh", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, **with_it)


def test_gpu_report_runs_loss_and_step_and_a_failure_ends_neither(tmp_path):
    result = report("--quick", "--out", tmp_path / "out", python='echo "ran $*"; exit 3', path=tmp_path)
    assert result.returncode != 0
    result = report("--quick", "--out", tmp_path / "out", python='echo "ran $*"; [[ $1 != */loss.py ]]', path=tmp_path)
    for name in ("loss", "step"):
        assert f"ran benchmarks/{name}.py --out {tmp_path}/out --quick" in result.stdout
    assert result.returncode == 1 and "failed or out of time: " in result.stderr


def test_gpu_report_trains_in_half_precision_where_it_has_data(tmp_path):
    options = ["--quick", "--out", tmp_path / "out", "--data", tmp_path / "bin"]
    result = report(*options, python='echo "ran $*"', path=tmp_path)
    command = f"ran benchmarks/fp16_training.py --data {tmp_path}/bin --out {tmp_path}/out --updates 10 --config"
    assert f"{command} configs/multi30k_deen common.cpu=true common.fp16=false\n" in result.stdout
    assert result.returncode == 0


@pytest.mark.usefixtures("_one_process")
def test_throughput(run, tmp_path):
    config = make_configs(tmp_path) / "rdrop.yaml"
    printed = run(throughput, config, "--updates", 10, "--out", tmp_path / "out", "dataset.batch_size=3")
    (path,) = (tmp_path / "out").glob("throughput_*.json")
    found = facts(tmp_path / "out", path.stem, printed)
    assert found["values"] == ["dataset.batch_size=3"]
    assert found["updates"] == 10 and found["words_per_second"] > 0
    assert {"model, forward", "backward", "optimizer"} <= found["seconds"].keys()


def test_inference(run, tmp_path, tmp_path_factory, monkeypatch):
    learned = copy_of(learned_once(tmp_path_factory) / "run", tmp_path)
    (tmp_path / "data/bpe").mkdir()
    bpe.learn(tmp_path / "data/bpe/codes", 100, [tmp_path / "data/tok/train.de"], 1)
    monkeypatch.setattr(measure, "worker", lambda _: ThreadPoolExecutor(1))  # instead of a process
    printed = run(inference, learned, "--quick", "--rounds", 1, "--out", tmp_path / "out")
    assert (tmp_path / "out/inference.md").read_text() in printed and "| CTranslate2 int8 " in printed
    (found,) = json.loads((tmp_path / "out/inference.json").read_text())["measured"]
    ways = {"fairseq, 1", "float32, 1", "int8, 1"}
    assert found["lines"] == 5 and ways == found["seconds"].keys() == found["bleu"].keys()
    assert all(len(spent) == 1 and min(spent) > 0 for spent in found["seconds"].values())
    assert found["equal"]["float32, 1"] == 5 and found["bleu"]["float32, 1"] == found["bleu"]["fairseq, 1"]
    assert found["megabytes"]["int8"] < found["megabytes"]["float32"]


def test_fp16_training(run, tmp_path, monkeypatch):
    trained = {"status": 1, "overflows": 0, "updates": []}
    logged = [{"num_updates": str(n), "loss": "9", "nll_loss": f"{n}.5", "ups": str(n)} for n in (1, 2, 3)]
    results = iter([trained, trained | {"status": 0, "overflows": 4, "updates": logged}, trained])
    monkeypatch.setattr(fp16_training, "train", lambda *_: next(results))
    with pytest.raises(SystemExit, match="a training failed"):
        run(fp16_training, "--data", tmp_path, "--out", tmp_path)
    table = (tmp_path / "fp16_training.md").read_text()
    assert re.search(r"baseline +\| ended with status 1 ", table)
    assert re.search(r"fused +\| 1\.5 at update 1 +\| 3\.5 at update 3 \| 4 +\| none +\| 3 ", table)
    assert json.loads((tmp_path / "fp16_training.json").read_text())["runs"]["R-Drop, fused"]["updates"] == logged


@pytest.mark.usefixtures("_one_process")
def test_what_is_refused(run, tmp_path):
    with pytest.raises(SystemExit, match="must be a positive integer"):
        run(loss, "--rounds", "0")
    with pytest.raises(SystemExit, match=r"none\.yaml"):
        run(throughput, tmp_path / "none.yaml", "--out", tmp_path)
    with pytest.raises(SystemExit, match=r"step_cpu\.json: no JSON file of a benchmark"):
        run(measure, tmp_path / "step_cpu.json")
    result = report(python="echo False", path=tmp_path)
    assert result.returncode != 0 and result.stderr == "gpu_report.sh: PyTorch sees no GPU here\n"
