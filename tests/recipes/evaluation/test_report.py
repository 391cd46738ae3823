"""scripts/report.py: the table of scored runs, logs of several starts, and what is refused."""

import json
import os
import sys
from pathlib import Path

import pytest
from recipes.evaluation import report
from recipes.training.run_folder import RunFolder
from support import in_process
from support.in_process import printed
from support.unchanged import unchanged

FRESH = "[fairseq.trainer][INFO] - No existing checkpoint found c/checkpoint_last.pt\n"


def resumed(update: int) -> str:
    """The line of a log that says where a start goes on."""
    return f"[fairseq.trainer][INFO] - Loaded checkpoint c/checkpoint_last.pt (epoch 2 @ {update} updates)\n"


def inner(update: int, seconds: float) -> str:
    """The line of a log that sums up the updates since the one before."""
    return f'[train_inner][INFO] - {{"epoch": 1, "num_updates": "{update}", "train_wall": "{seconds}"}}\n'


def epoch_end(update: int) -> str:
    """The line of a log at the end of an epoch."""
    return f'[train][INFO] - {{"epoch": 1, "train_num_updates": "{update}", "train_train_wall": "99"}}\n'


def valid(update: int, loss: float, bleu: float, saved: bool = True) -> str:
    """The lines of a log on a validation and, unless told otherwise, the checkpoint of it."""
    numbers = {"num_updates": update, "loss": loss, "ppl": 2**loss, "bleu": bleu}
    text = json.dumps({f"valid_{key}": f"{value:g}" for key, value in numbers.items()})
    line = f"[valid][INFO] - {text}\n"
    if saved:
        line += "[fairseq.checkpoint_utils][INFO] - Saved checkpoint c/checkpoint_1.pt "
        line += f"(epoch 1 @ {update} updates, score {bleu}) (writing took 0.1 seconds)\n"
    return line


LOG = FRESH + inner(5, 30) + valid(5, 3, 9) + inner(10, 60) + valid(10, 2, 7)


def make_run(folder: Path, bleu: float, evaluation: str = "best", test: str = "made_up", **more: float) -> Path:
    """A run folder as train.sh and evaluate_translation.sh leave it, as far as it is read."""
    out = folder / "evaluation" / evaluation
    out.mkdir(parents=True, exist_ok=True)
    (folder / "train.log").write_text(LOG)
    (folder / "train.yaml").write_text("checkpoint: {maximize_best_checkpoint_metric: true}\n")
    (folder / "versions.txt").write_text("python 3.11\n")
    scores = {"bleu": bleu, "tokenized_bleu": bleu + 1, "chrf": bleu + 20} | more
    (out / f"{test}.json").write_text(json.dumps(scores))
    return folder


def columns(folder: Path, log: str, config: str = "") -> dict[str, float]:
    """The numbers in the table of a run with this log."""
    run = make_run(folder / "rdrop/seed1", 30.0)
    (run / "train.log").write_text(log)
    if config:
        (run / "train.yaml").write_text(config)
    return report.columns(report.read_run(RunFolder(run), "best"))


def refused(out: Path, *runs: Path) -> str:
    """What report.py says, in one line, of runs that it refuses; nothing is written."""
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


def test_what_was_trained_after_the_last_checkpoint_counts_once(tmp_path):
    """Killed at 300 and something, gone on from 200, killed, begun anew from 200 again; the log is in one piece."""
    whole = FRESH + inner(100, 60) + inner(200, 60) + valid(200, 3, 9)
    after = inner(300, 70) + inner(400, 70) + valid(400, 2, 8)
    killed = whole + inner(300, 500) + valid(300, 1, 50) + '[train_inner][INFO] - {"epoch": 1, "num_upd'
    again = "[fairseq_cli.train][INFO] - {'_name': None}\n" + resumed(200)
    expected = {"updates": 400, "minutes": (60 + 60 + 70 + 70) / 60, "best at": 200, "valid ppl": 8, "valid BLEU": 9}
    for log in (whole + after, killed + again + after, killed + again + inner(300, 400) + again + after):
        assert columns(tmp_path, log).items() >= expected.items()
    assert columns(tmp_path, killed + again)["updates"] == 200  # nothing after the checkpoint is in the model
    assert columns(tmp_path, killed + FRESH + whole + after).items() >= expected.items()


def test_updates_that_no_line_sums_up_take_the_time_of_those_around_them(tmp_path):
    """fairseq begins its sums anew when it goes on from the end of an epoch, and not within one."""
    start = FRESH + inner(100, 100) + valid(150, 3, 9)
    assert columns(tmp_path, start)["minutes"] == 150 / 60
    within = start + resumed(150) + inner(200, 200) + valid(200, 2, 8)
    assert columns(tmp_path, within)["minutes"] == (100 + 200) / 60
    after_epoch = start + epoch_end(150) + resumed(150) + inner(200, 100) + valid(200, 2, 8)
    assert columns(tmp_path, after_epoch)["minutes"] == (100 + 2 * 100) / 60


def test_the_time_in_which_a_run_was_stopped_is_not_training(tmp_path, capsys):
    log = FRESH + "".join(inner(at, 2000 if at == 300 else 20) for at in range(100, 600, 100)) + valid(500, 3, 9)
    assert columns(tmp_path, log)["minutes"] == 5 * 20 / 60
    assert "33.0 minutes in which it was stopped are not counted" in capsys.readouterr().err
    # A busy machine is none that was stopped, and a slow first second is no pause.
    log = FRESH + inner(100, 20) + inner(200, 50) + inner(300, 20) + valid(300, 3, 9)
    assert columns(tmp_path, log)["minutes"] == 90 / 60
    log = FRESH + inner(1, 9) + inner(2, 0) + inner(3, 0) + valid(3, 3, 9)
    assert columns(tmp_path, log)["minutes"] == 9 / 60
    assert capsys.readouterr().err == ""


def test_the_best_checkpoint_is_the_one_that_fairseq_keeps(tmp_path):
    """Of equal scores the last; by the run's own metric; among those that were saved; never NaN."""
    equal = FRESH + valid(5, 3, 9) + valid(10, 2, 9) + valid(15, 1, 8)
    assert columns(tmp_path, equal)["best at"] == 10
    assert columns(tmp_path, FRESH + valid(5, 3, 9) + valid(10, 2, 99, saved=False))["best at"] == 5
    assert columns(tmp_path, FRESH + valid(5, 3, 9) + valid(10, 2, float("nan")))["best at"] == 5
    falling = FRESH + valid(5, 3, 4) + valid(10, 2, 3) + valid(15, 1, 3) + valid(20, 1, 5)  # the score as if of a loss
    assert columns(tmp_path, falling, "common: {seed: 1}\n")["best at"] == 15


def test_without_matplotlib_there_is_the_table_and_no_earlier_figure(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/curves.png").write_bytes(b"of an earlier report")
    result = in_process.call(report.main, "--out", tmp_path / "out", *runs)
    assert (result.status, result.stderr) == (0, "matplotlib is not installed: no curves.png\n")
    assert (tmp_path / "out/table.md").read_text() == result.stdout
    assert not (tmp_path / "out/curves.png").exists()


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


def test_what_a_log_holds_beside_its_numbers_does_no_harm(runs):
    log = b'\xff\x00\n[valid][INFO] - [3]\n[train_inner][INFO] - {"num_updates": {}}\n' + LOG.encode()
    log += b"[x][INFO] - Saved checkpoint c (epoch 1 @ 10 updates, score None) (writing took 1 seconds)\n"
    (runs[0] / "train.log").write_bytes(log)
    assert report.columns(report.read_run(RunFolder(runs[0]), "best"))["best at"] == 5


def test_more_facts_in_the_scores_are_no_columns(runs):
    plain = report.columns(report.read_run(RunFolder(runs[0]), "best"))
    make_run(runs[0], 31.0, updates=10, checkpoint_sha256="0" * 64, scored_as_empty=0)
    assert report.columns(report.read_run(RunFolder(runs[0]), "best")) == plain
