"""benchmarks/: each command runs at its tiny size and leaves a table, its numbers and a plot. No times are checked."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from learned_run import tool
from toy_run import make_configs, settings

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def facts(out: Path, name: str, printed: str) -> dict:
    """The numbers that a benchmark left, once its table and plot are seen."""
    assert (out / f"{name}.md").read_text() in printed
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((out / f"{name}.json").read_text())
    assert any(line.startswith("torch ") for line in found["versions"])
    return found


def check_times(times: list[dict], expected: set[str]) -> None:
    assert times
    for entry in times:
        assert expected <= entry["seconds"].keys()
        assert all(second > 0 for measured in entry["seconds"].values() for second in measured)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What gpu_report.sh, which calls the benchmarks of loss and step, leaves and prints."""
    out = tmp_path_factory.mktemp("report")
    command = [BENCHMARKS / "gpu_report.sh", "--quick", "--out", out]
    result = subprocess.run(command, capture_output=True, text=True, **settings())
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return out, result.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU it tests and measures there")
def test_loss(report):
    found = facts(report[0], "loss_cpu", report[1])
    check_times(found["times"], {"bare products", "R-Drop, fused", "R-Drop, plain", "R-Drop, published formula"})
    check_times(found["adaptive"]["times"], {"bare products", "R-Drop, adaptive, fused", "R-Drop, adaptive, plain"})
    peaks = {entry["loss"]: entry["bytes"] for entry in found["memory"] if entry["tokens"] == 1024}
    assert 0 < peaks["R-Drop, fused"] < peaks["R-Drop, published formula"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU it tests and measures there")
def test_step(report):
    found = facts(report[0], "step_cpu", report[1])
    check_times(found["times"], {"cross-entropy, doubled batch", "R-Drop, fused", "R-Drop, plain"})
    assert {entry["kind"] for entry in found["times"]} == {
        "translation", "language model", "language model with adaptive softmax"
    }  # fmt: skip


def test_throughput(tmp_path):
    config = make_configs(tmp_path) / "rdrop.yaml"
    result = tool("throughput", config, "--quick", "--out", tmp_path / "out", "dataset.batch_size=3")
    assert result.status == 0, result.stdout[-3000:] + result.stderr[-3000:]
    (path,) = (tmp_path / "out").glob("throughput_*.json")
    found = facts(tmp_path / "out", path.stem, result.stdout)
    assert found["values"] == ["dataset.batch_size=3"]
    assert found["updates"] == 10 and found["words_per_second"] > 0
    assert {"model, forward", "backward", "optimizer"} <= found["seconds"].keys()


def test_what_is_refused(tmp_path):
    result = tool("loss", "--rounds", "0")
    assert result.status != 0 and "must be at least 1" in result.stderr
    result = tool("throughput", tmp_path / "none.yaml", "--out", tmp_path)
    assert result.status != 0 and "none.yaml" in result.stderr
    hidden = settings()["env"] | {"CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run([BENCHMARKS / "gpu_report.sh"], capture_output=True, text=True, env=hidden)
    assert result.returncode != 0 and result.stderr == "gpu_report.sh: PyTorch sees no GPU here\n"
