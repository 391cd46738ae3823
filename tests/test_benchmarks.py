"""benchmarks/: each command runs at its tiny size and leaves a table, its numbers and a plot. No times are checked."""

import importlib.util
import itertools
import json
import logging
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from matplotlib import pyplot
from support.learned_run import tool
from support.places import ROOT
from support.toy_run import make_configs, settings

BENCHMARKS = ROOT / "benchmarks"
PICTURES = sorted((ROOT / "results").glob("p*/*.png"))


def load(name: str) -> ModuleType:
    """A module of benchmarks/ by a name of its own, for tests/ has a prepare.py too."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        patch.setattr(logging, "disable", lambda _: None)  # measure.py turns logging off, which other tests need
        spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


measure = load("measure")


def facts(out: Path, name: str, printed: str) -> dict:
    """The numbers that a benchmark left, once its table and plot are seen."""
    assert (out / f"{name}.md").read_text() in printed
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((out / f"{name}.json").read_text())
    assert any(line.startswith("torch ") for line in found["versions"])
    return found


def check_times(times: list[dict], expected: set[str]) -> None:
    """Each size was timed with both ways to allocate memory, in two rounds."""
    assert [entry["allocator"] for entry in times] == [*measure.ALLOCATORS] * (len(times) // 2) and times
    for entry in times:
        assert expected <= entry["seconds"].keys()
        assert all(len(spent) == 2 and min(spent) > 0 for spent in entry["seconds"].values())


def run(name: str, *options: object) -> str:
    result = tool(name, *options)
    assert result.status == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def test_loss(tmp_path):
    found = facts(tmp_path, "loss_cpu", run("loss", "--quick", "--cpu", "--rounds", 2, "--out", tmp_path))
    check_times(found["times"], {"bare products", "R-Drop, fused", "R-Drop, plain", "R-Drop, published formula"})
    check_times(found["adaptive"]["times"], {"bare products", "R-Drop, adaptive, fused", "R-Drop, adaptive, plain"})
    (fused,) = found["memory"]
    (other,) = run(
        "loss", "--memory-of", json.dumps({**fused, "device": "cpu", "loss": "R-Drop, published formula"})
    ).split()
    assert 0 < fused["bytes"] < int(other)


def test_step(tmp_path):
    found = facts(tmp_path, "step_cpu", run("step", "--quick", "--cpu", "--rounds", 2, "--out", tmp_path))
    check_times(found["times"], {"cross-entropy, doubled batch", "R-Drop, fused", "R-Drop, plain"})
    kinds = [entry["kind"] for entry in found["times"]]
    assert kinds[::2] == kinds[1::2] == ["translation", "language model", "language model with adaptive softmax"]
    setting = {**found["times"][0], "method": "R-Drop, fused", "vocab": 20_000, "tokens": 512}
    plain = {**setting, "method": "cross-entropy, doubled batch"}
    assert 0 < int(run("step", "--memory-of", json.dumps(setting))) < int(run("step", "--memory-of", json.dumps(plain)))


def test_the_settings_of_malloc_are_those_of_train_sh():
    def seen(allocator: str) -> dict[str, str]:
        command = [*measure.ALLOCATORS[allocator], "env"]
        env = measure.environment() | {"PYTHONPATH": ""}
        printed = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
        return dict(line.split("=", 1) for line in printed.splitlines() if line.startswith("MALLOC_"))

    of_script = dict(re.findall(r"(MALLOC_\w+)=\$\{\1:-(\d+)\}", (ROOT / "scripts/recipes/malloc.sh").read_text()))
    assert len(of_script) == 3 and seen(measure.TRAIN_SH) == of_script
    assert seen(measure.DEFAULT) == {}


def test_pictures_are_drawn_from_the_json_of_the_results(tmp_path):
    files = [shutil.copy(ROOT / f"results/performance/{name}_cpu.json", tmp_path) for name in ("loss", "step")]
    run("redraw", *files)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["loss_cpu.png", "step_cpu.png"]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.stem)
def test_nothing_in_a_picture_lies_on_another(picture):
    facts = json.loads(picture.with_suffix(".json").read_text())
    with pyplot.rc_context({"backend": "agg"}):
        figure = load(picture.stem.split("_")[0]).draw(facts, pyplot)
        figure.canvas.draw()
    boxes = {axes: axes.get_window_extent() for axes in figure.axes}
    texts = [text for axes in figure.axes for text in (*axes.get_yticklabels(), *axes.texts) if text.get_text()]
    boxes |= {text: text.get_window_extent() for text in texts}
    legends = [part.legends for part in (figure, *figure.subfigs)]
    boxes |= {legend: legend.get_window_extent() for legend in itertools.chain(*legends)}
    pyplot.close(figure)
    assert len(boxes) > 10
    for (one, box), (other, of_other) in itertools.combinations(boxes.items(), 2):
        if other in one.get_children():  # the number at a bar
            assert box.xmax >= of_other.xmax
        else:
            assert not box.overlaps(of_other), (one, other)


def test_a_process_that_ends_early_is_said(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("raise SystemExit(3)")
    with measure.Workers(str(script), "cpu") as workers:
        for process in workers.processes.values():
            process.wait()
        with pytest.raises(SystemExit, match=r"malloc as train\.sh sets it: the process ended with status 3"):
            workers.seconds({}, 1)


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


def test_throughput(tmp_path):
    config = make_configs(tmp_path) / "rdrop.yaml"
    printed = run("throughput", config, "--quick", "--out", tmp_path / "out", "dataset.batch_size=3")
    (path,) = (tmp_path / "out").glob("throughput_*.json")
    found = facts(tmp_path / "out", path.stem, printed)
    assert found["values"] == ["dataset.batch_size=3"]
    assert found["updates"] == 10 and found["words_per_second"] > 0
    assert {"model, forward", "backward", "optimizer"} <= found["seconds"].keys()


def test_what_is_refused(tmp_path):
    result = tool("loss", "--rounds", "0")
    assert result.status != 0 and "must be at least 1" in result.stderr
    result = tool("throughput", tmp_path / "none.yaml", "--out", tmp_path)
    assert result.status != 0 and "none.yaml" in result.stderr
    result = tool("redraw", tmp_path / "step_cpu.json")
    assert result.status != 0 and "step_cpu.json: no JSON file of a benchmark" in result.stderr
    result = report(python="echo False", path=tmp_path)
    assert result.returncode != 0 and result.stderr == "gpu_report.sh: PyTorch sees no GPU here\n"
