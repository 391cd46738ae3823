"""scripts/report.py: the table of scored runs, and what is refused."""

import json
import os
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from recipes.evaluation import report
from recipes.training.run_folder import RunFolder
from support import in_process
from support.in_process import printed
from support.made_up_log import make_run, valid
from support.unchanged import unchanged


def refused(out: Path, *runs: Path) -> str:
    """Return what report.py says, in one line, of runs that it refuses; nothing is written."""
    line = in_process.refused(report.main, "--out", out, *runs)
    assert not out.exists()
    return line


def rows(printed: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line[1] == " "]


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [make_run(tmp_path / f"runs/rdrop/seed{seed}", 30.0 + seed) for seed in (1, 2)]


def test_the_table(runs, tmp_path):
    with unchanged(tmp_path / "runs"):
        text = printed(report.main, "--out", tmp_path / "out", *runs)
    header, first, second, both = rows(text)
    scores = ["made_up BLEU", "made_up tokenized", "made_up chrF"]
    assert header == ["run", "seed", "updates", "minutes", "best at", "valid ppl", "valid BLEU", *scores]
    assert first == ["rdrop", "1", "10", "1.5", "5", "8.00", "9.00", "31.00", "32.00", "51.00"]
    assert second[1] == "2" and second[7] == "32.00"
    assert both[:2] == ["**rdrop**", "mean ± std"] and both[7] == "31.50 ± 0.71"
    assert (tmp_path / "out/table.md").read_text() == text
    assert (tmp_path / "out/curves.png").read_bytes().startswith(b"\x89PNG")
    assert [run["seed"] for run in json.loads((tmp_path / "out/runs.json").read_text())] == ["1", "2"]


def test_compound_split_scores_are_shown_where_there_are_such(tmp_path):
    run = make_run(tmp_path / "baseline/seed1", 30.0, compound_split_bleu=33.3)
    header, row = rows(report.table([report.read_run(RunFolder(run), "best")]))
    assert dict(zip(header, row, strict=True))["made_up compound split"] == "33.30"


def test_configs_of_several_folders_are_not_one(tmp_path):
    runs = [make_run(tmp_path / f"{folder}/rdrop/seed{seed}", 30.0 + seed) for folder in ("a", "b") for seed in (1, 2)]
    text = printed(report.main, "--out", tmp_path / "out", *runs)
    names = [row[0] for row in rows(text)[1:]]
    assert names == ["a/rdrop", "a/rdrop", "**a/rdrop**", "b/rdrop", "b/rdrop", "**b/rdrop**"]


def test_folders_of_the_same_name_are_told_apart(tmp_path):
    runs = [make_run(tmp_path / f"{folder}/iwslt/rdrop/seed1", 30.0) for folder in ("a", "b")]
    text = printed(report.main, "--out", tmp_path / "out", *runs)
    assert [row[0] for row in rows(text)[1:]] == ["a/iwslt/rdrop", "b/iwslt/rdrop"]


def test_without_matplotlib_there_is_the_table_and_no_earlier_figure(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/curves.png").write_bytes(b"of an earlier report")
    result = in_process.call(report.main, "--out", tmp_path / "out", *runs)
    assert (result.status, result.stderr) == (0, "matplotlib is not installed: no curves.png\n")
    assert (tmp_path / "out/table.md").read_text() == result.stdout
    assert not (tmp_path / "out/curves.png").exists()


@pytest.mark.parametrize("full", [1, 2, 3])
def test_a_full_disk_leaves_no_half_file(runs, tmp_path, monkeypatch, full):
    """The first, second or third file that is written cannot be written to its end."""
    printed(report.main, "--out", tmp_path / "out", runs[0])
    printed(report.main, "--out", tmp_path / "wanted", *runs)
    earlier, wanted = (contents(tmp_path / name) for name in ("out", "wanted"))
    written = []

    def fails(write):
        def write_half(self, *given, **how):
            write(self, *given, **how)
            written.append(path := self if isinstance(self, Path) else given[0])
            if len(written) == full:
                path.write_bytes(path.read_bytes()[:9])
                raise OSError("No space left on device")

        return write_half

    monkeypatch.setattr(Path, "write_text", fails(Path.write_text))
    monkeypatch.setattr(Figure, "savefig", fails(Figure.savefig))
    assert in_process.refused(report.main, "--out", tmp_path / "out", *runs) == "No space left on device"
    monkeypatch.undo()
    names = ["table.md", "runs.json", "curves.png"]
    whole = {name: wanted[name] for name in names[: full - 1]} | {name: earlier[name] for name in names[full - 1 :]}
    if full == 3:  # an earlier figure is removed first
        del whole["curves.png"]
    assert contents(tmp_path / "out") == whole


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_another_evaluation_is_reported(runs, tmp_path):
    make_run(runs[0], 35.0, evaluation="average5")
    text = printed(report.main, "--out", tmp_path / "out", "--evaluation", "average5", runs[0])
    assert rows(text)[1][7] == "35.00"


def test_a_run_that_is_given_twice_is_no_second_seed(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seed9").symlink_to(runs[0])
    for again in (runs[0], Path(os.path.relpath(runs[0])), runs[0] / "evaluation/..", tmp_path / "seed9"):
        line = refused(tmp_path / "out", *runs, again)
        assert line == f"{runs[0]} and {again} are one run: give each run once"


def test_runs_that_cannot_be_reported_are_refused(runs, tmp_path):
    out = tmp_path / "out"
    assert "required: --out" in in_process.refused(report.main, *runs)
    assert "no run folder" in in_process.refused(report.main, "--out", out, tmp_path)
    assert "was not scored (no evaluation/average5)" in in_process.refused(
        report.main, "--out", out, "--evaluation", "average5", *runs
    )
    other = make_run(tmp_path / "runs/other/seed1", 30.0, test="another")
    line = in_process.refused(report.main, "--out", out, *runs, other)
    assert "have different scores: another BLEU, " in line
    (runs[1] / "train.log").write_text("nothing\n")
    assert "holds no validation" in in_process.refused(report.main, "--out", out, *runs)
    assert not out.exists()


# What a file from elsewhere may hold, and what is said of it.
BROKEN = {
    "train.yaml": [
        (b"common: {seed: 1\n", "cannot be read"),
        (b"\xff\x00\x80", "cannot be read"),
        (b"- a list\n", "is no config: it holds a list"),
        (b"checkpoint: {maximize_best_checkpoint_metric: '${no.such}'}\n", "no.such"),
        (b"checkpoint: {maximize_best_checkpoint_metric: 3}\n", "must be true or false, not 3"),
    ],
    "versions.txt": [(b"python \xff\n", "is no text in UTF-8")],
    "evaluation/best/made_up.json": [
        (b'{"bleu": 3', "is no JSON"),
        (b"", "is no JSON"),
        (b'{"bleu": "\xff"}', "is no text in UTF-8"),
        (b"[" * 100_000, "is no JSON"),
        (b"[30.0]", "holds no scores"),
        (b'{"bleu": "high"}', "bleu is high, which no evaluation wrote"),
        (b'{"bleu": [1]}', "bleu is [1], which no evaluation wrote"),
        (b'{"bleu": null}', "has no bleu"),
        (b'{"bleu": 1' + b"0" * 400 + b"}", "which no evaluation wrote"),
        (b'{"bleu": NaN}', "bleu is nan"),
    ],
    "train.log": [
        (b"\x00\xff\n[valid][INFO] - {}\n", "holds no validation"),
        (b'[valid][INFO] - {"valid_num_updates": "1e999", "valid_loss": []}\n', "holds no validation"),
        (b'[valid][INFO] - {"valid_num_updates": "5", "valid_loss": "3"}\n', "holds no validation with loss and ppl"),
        (valid(5, 3, 9, saved=False).encode(), "names no checkpoint that is best on validation"),
    ],
}


@pytest.mark.parametrize("name, content, words", [(name, *case) for name, cases in BROKEN.items() for case in cases])
def test_a_broken_file_of_a_run_is_said_in_one_line(runs, tmp_path, name, content, words):
    (runs[1] / name).write_bytes(content)
    line = refused(tmp_path / "out", *runs)
    assert words in line and str(runs[1]) in line


def test_more_facts_in_the_scores_are_no_columns(runs):
    plain = report.columns(report.read_run(RunFolder(runs[0]), "best"))
    make_run(runs[0], 31.0, updates=10, checkpoint_sha256="0" * 64, scored_as_empty=0)
    assert report.columns(report.read_run(RunFolder(runs[0]), "best")) == plain
