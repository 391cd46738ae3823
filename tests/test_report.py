"""scripts/report.py: the table of scored runs, and what is refused."""

import json
import sys
from pathlib import Path

import pytest
from learned_run import tool, tool_refused
from toy_run import SCRIPTS

sys.path.append(str(SCRIPTS))
import report

LOG = """[train_inner][INFO] - {"num_updates": "5", "train_wall": "30"}
[valid][INFO] - {"valid_num_updates": "5", "valid_loss": "3", "valid_ppl": "8", "valid_bleu": "9"}
[train_inner][INFO] - {"num_updates": "10", "train_wall": "60"}
[valid][INFO] - {"valid_num_updates": "10", "valid_loss": "2", "valid_ppl": "4", "valid_bleu": "7"}
"""


def make_run(folder: Path, bleu: float, evaluation: str = "best", test: str = "made_up", **more: float) -> Path:
    """A run folder as train.sh and evaluate_translation.sh leave it, as far as it is read."""
    out = folder / "evaluation" / evaluation
    out.mkdir(parents=True, exist_ok=True)
    (folder / "train.log").write_text(LOG)
    (folder / "versions.txt").write_text("python 3.11\n")
    scores = {"bleu": bleu, "tokenized_bleu": bleu + 1, "chrf": bleu + 20} | more
    (out / f"{test}.json").write_text(json.dumps(scores))
    return folder


def rows(printed: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line[1] == " "]


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [make_run(tmp_path / f"runs/rdrop/seed{seed}", 30.0 + seed) for seed in (1, 2)]


def test_the_table(runs, tmp_path):
    result = tool("report", "--out", tmp_path / "out", *runs)
    assert result.status == 0, result.stderr
    header, first, second, both = rows(result.stdout)
    scores = ["made_up BLEU", "made_up tokenized", "made_up chrF"]
    assert header == ["run", "seed", "updates", "minutes", "best at", "valid ppl", "valid BLEU", *scores]
    assert first == ["rdrop", "1", "10", "1.5", "5", "8.00", "9.00", "31.00", "32.00", "51.00"]
    assert second[1] == "2" and second[7] == "32.00"
    assert both[:2] == ["**rdrop**", "mean ± std"] and both[7] == "31.50 ± 0.71"
    assert (tmp_path / "out/table.md").read_text() == result.stdout
    assert (tmp_path / "out/curves.png").read_bytes().startswith(b"\x89PNG")
    assert [run["seed"] for run in json.loads((tmp_path / "out/runs.json").read_text())] == ["1", "2"]


def test_compound_split_scores_are_shown_where_there_are_such(tmp_path):
    run = make_run(tmp_path / "baseline/seed1", 30.0, compound_split_bleu=33.3)
    header, row = rows(report.table([report.read_run(run, "best")]))
    assert dict(zip(header, row, strict=True))["made_up compound split"] == "33.30"


def test_configs_of_several_folders_are_not_one(tmp_path):
    runs = [make_run(tmp_path / f"{folder}/rdrop/seed{seed}", 30.0 + seed) for folder in ("a", "b") for seed in (1, 2)]
    result = tool("report", "--out", tmp_path / "out", *runs)
    names = [row[0] for row in rows(result.stdout)[1:]]
    assert names == ["a/rdrop", "a/rdrop", "**a/rdrop**", "b/rdrop", "b/rdrop", "**b/rdrop**"]


def test_another_evaluation_is_reported(runs, tmp_path):
    make_run(runs[0], 35.0, evaluation="average5")
    result = tool("report", "--out", tmp_path / "out", "--evaluation", "average5", runs[0])
    assert rows(result.stdout)[1][7] == "35.00"


def test_runs_that_cannot_be_reported_are_refused(runs, tmp_path):
    out = tmp_path / "out"
    assert "required: --out" in tool_refused("report", *runs)
    assert "no run folder" in tool_refused("report", "--out", out, tmp_path)
    assert "was not scored (no evaluation/average5)" in tool_refused(
        "report", "--out", out, "--evaluation", "average5", *runs
    )
    other = make_run(tmp_path / "runs/other/seed1", 30.0, test="another")
    line = tool_refused("report", "--out", out, *runs, other)
    assert "were scored otherwise: another BLEU, " in line
    (runs[1] / "train.log").write_text("nothing\n")
    assert "holds no validation" in tool_refused("report", "--out", out, *runs)
    assert not out.exists()
