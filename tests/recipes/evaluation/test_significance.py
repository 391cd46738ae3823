"""scripts/compare_runs.py: means over seeds, the tests over seeds, sacrebleu's paired tests, and what is refused."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from recipes.evaluation import significance
from recipes.evaluation.score import scores, write_scored
from support import in_process
from support.unchanged import unchanged

WORDS = [f"w{number}" for number in range(12)]
REFERENCE = [" ".join(random.Random(number).choices(WORDS, k=8)) for number in range(40)]


def translation(seed: int, errors: float) -> list[str]:
    """Return the reference with about this part of its words replaced."""
    rng = random.Random(seed)
    return [
        " ".join(rng.choice(WORDS) if rng.random() < errors else word for word in line.split(" ")) for line in REFERENCE
    ]


def make_run(folder: Path, seed: int, lines: list[str], name: str = "test", reference=REFERENCE, **options) -> Path:
    """Return a run folder as evaluate_translation.sh leaves it, as far as it is read."""
    out = folder / "evaluation/best"
    out.mkdir(parents=True, exist_ok=True)
    (folder / "train.yaml").write_text(f"common: {{seed: {seed}}}\n")
    result = scores([lines, reference], [lines, reference], "en", **options)
    result |= {
        "checkpoint": "best",
        "updates": 10,
        "checkpoint_sha256": "0" * 64,
        "decoding": {"beam": 5, "lenpen": 1.0},
    }
    write_scored(out, name, {"tok": [lines, reference], "txt": [lines, reference]}, result)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """Three runs of a worse system and of a better one, with seeds 1 to 3."""
    folder = tmp_path_factory.mktemp("runs")
    bad = [make_run(folder / f"bad/seed{seed}", seed, translation(seed, 0.3)) for seed in (1, 2, 3)]
    good = [make_run(folder / f"good/seed{seed}", seed, translation(seed + 100, 0.22)) for seed in (1, 2, 3)]
    return bad, good


def compare(a: list[Path], b: list[Path], *options: object) -> str:
    return in_process.printed(significance.main, *options, *a, "--", *b)


def table(printed: str, first: str) -> list[dict[str, str]]:
    """Return the rows of the first table whose header begins with this cell, by their column."""
    lines = printed.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} "))
    rows = []
    while start < len(lines) and lines[start].startswith("|"):
        rows.append([cell.strip() for cell in lines[start].split("|")[1:-1]])
        start += 1
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def bleus(group: list[Path], key: str = "tokenized_bleu") -> list[float]:
    return [json.loads((run / "evaluation/best/test.json").read_text())[key] for run in group]


@pytest.fixture(scope="module")
def printed(runs) -> str:
    """Return what is printed of them."""
    with unchanged(runs[0][0].parents[1]):
        return compare(*runs)


def test_mean_and_deviation_over_seeds_and_the_difference(runs, printed):
    bad, good = runs
    rows = {row["score"]: row for row in table(printed, "score")}
    assert list(rows) == ["sacreBLEU", "multi-bleu", "compound split", "chrF"]
    for label, key in (("multi-bleu", "tokenized_bleu"), ("chrF", "chrf")):
        means = []
        for side, group in (("A", bad), ("B", good)):
            values = bleus(group, key)
            means.append(sum(values) / 3)
            deviation = (sum((value - means[-1]) ** 2 for value in values) / 2) ** 0.5
            assert rows[label][side] == f"{means[-1]:.2f} ± {deviation:.2f}"
        assert rows[label]["B - A"] == f"{means[1] - means[0]:+.2f}" and means[1] > means[0]
        assert rows[label]["Wilcoxon p"] == "0.2500"  # three positive differences: 2 of 8 signs are as extreme
    assert "3 seeds, so the smallest possible p is 0.25." in printed
    assert f"A: {bad[0]} (seed 1; best, beam 5, lenpen 1.0)" in printed


def test_p_values_are_those_of_sacrebleu_on_the_command_line(runs, printed, tmp_path):
    bad, good = runs
    rows = table(printed, "seed")
    assert [(row["seed"], row["score"]) for row in rows] == [
        (seed, score) for seed in "123" for score in ("sacreBLEU", "multi-bleu", "chrF")
    ]
    plain = ["--tokenize", "none", "--smooth-method", "none", "--force"]
    files = [
        shutil.copy(run / "evaluation/best/test.txt", tmp_path / name)
        for name, run in zip("ab", (bad[1], good[1]), strict=True)
    ]
    for column, flag in (("bootstrap p", "--paired-bs"), ("randomization p", "--paired-ar")):
        for options, labels in (
            (["-m", "bleu", "chrf"], ("sacreBLEU", "chrF")),
            (["-m", "bleu", *plain], ("multi-bleu",)),
        ):
            reference = bad[1] / "evaluation/best/test.txt.ref0"
            command = [sys.executable, "-m", "sacrebleu", reference, "-i", *files, *options, flag, "-f", "text"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            expected = [next(row for row in rows if row["seed"] == "2" and row["score"] == label) for label in labels]
            assert re.findall(r"p = ([\d.]+)", done.stdout) == [row[column] for row in expected]


@pytest.fixture
def _few_samples(monkeypatch):
    """Let sacrebleu draw 500 times in each test, where the p-values are not compared with others."""
    monkeypatch.setattr(significance, "PairedTest", partial(significance.PairedTest, n_samples=500))


@pytest.mark.usefixtures("_few_samples")
def test_equal_translations_do_not_differ(runs, tmp_path):
    bad, _ = runs
    same = make_run(tmp_path / "same", 9, translation(1, 0.3))
    printed = compare(bad[:1], [same])
    (first, *_) = rows = table(printed, "seed")
    assert [row["seed"] for row in rows] == ["1, 9"] * 3  # one run in each group: a pair, though the seeds differ
    assert [first[column] for column in ("B - A", "bootstrap p", "randomization p")] == ["+0.00", "1.0000", "1.0000"]
    assert [row["Wilcoxon p"] for row in table(printed, "score")] == [""] * 4  # one pair is no sample of seeds
    assert "smallest possible" not in printed


def test_only_seeds_in_both_groups_are_pairs(runs, tmp_path, monkeypatch):
    bad, good = runs
    monkeypatch.setattr(significance, "paired_tests", lambda a, b: [("bleu", [0.5, 0.5], ["x", "y"])])
    fourth = make_run(tmp_path / "fourth", 4, translation(104, 0.1))
    assert {row["seed"] for row in table(compare(bad, [good[1], good[2], fourth]), "seed")} == {"2", "3"}
    printed = compare(bad, [fourth])
    assert "No seed is in both groups: no paired tests." in printed and "| seed " not in printed


def test_another_evaluation_of_the_runs_is_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(significance, "paired_tests", lambda a, b: [])
    folders = []
    for name, errors in (("a", 0.3), ("b", 0.1)):
        make_run(tmp_path / name, 1, translation(7, 0.5))
        (tmp_path / name / "evaluation/best").rename(tmp_path / name / "evaluation/average5")
        folders.append(make_run(tmp_path / name, 1, translation(1, errors)))
    assert table(compare(folders[:1], folders[1:]), "score")[0]["B - A"] != "+0.00"
    assert table(compare(folders[:1], folders[1:], "--evaluation", "average5"), "score")[0]["B - A"] == "+0.00"


@pytest.mark.usefixtures("_few_samples")
def test_tokens_with_no_break_spaces_are_tested_as_multi_bleu_splits_them(tmp_path):
    """A sentence of two tokens has no 4-gram for multi-bleu, however many words no-break spaces part in it."""
    reference = [line.replace(" ", "\u00a0", 6) for line in REFERENCE]
    folders = [make_run(tmp_path / str(n), n, translation(n, 0.2), reference=reference) for n in (1, 2)]
    rows = {row["score"]: row for row in table(compare(folders[:1], folders[1:]), "seed")}
    assert rows["multi-bleu"]["A"] == "0.00" and float(rows["sacreBLEU"]["A"]) > 10
    assert rows["multi-bleu"]["bootstrap p"] == rows["multi-bleu"]["randomization p"] == "1.0000"
    assert float(rows["sacreBLEU"]["randomization p"]) < 1


def test_cohens_d_and_wilcoxon_of_the_report_on_one_way_kl():
    """Three seeds of R-Drop, two-way and one-way: the report gives d = 1.489 and p = 0.10.

    That p is the normal approximation's (0.109). Exact, three differences of one sign cannot be below 2/8.
    """
    two_way, one_way = [37.19, 37.28, 36.97], [37.34, 37.29, 37.32]
    assert significance.cohens_d(two_way, one_way) == pytest.approx(1.489, abs=5e-4)
    differences = [b - a for a, b in zip(two_way, one_way, strict=True)]
    assert significance.wilcoxon_p(differences) == 0.25
    assert significance.wilcoxon(differences, method="asymptotic").pvalue == pytest.approx(0.109, abs=5e-4)


@pytest.mark.parametrize(
    "differences, p",
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2 / 64),
        # ranks 1, 2, 3, the first negative: sums 0 and 1 of 8, and as many at the other end
        ([-1.0, 2.0, 3.0], 4 / 8),
        # ranks 1.5, 1.5, 3: the sum 1.5 or less for 3 of 8 signs
        ([1.0, -1.0, 2.0], 6 / 8),
        # equal but for the last bit: equal
        ([0.1 + 0.2, -0.3, 0.5], 6 / 8),
        # no difference counts for nothing: ranks 1 and 2 remain
        ([0.0, 1.0, 2.0], 2 / 4),
        ([0.0, 0.0], 1.0),
    ],
)
def test_exact_p_values_of_wilcoxon(differences, p):
    assert significance.wilcoxon_p(differences) == pytest.approx(p)


def refused(a: list[Path], b: list[Path]) -> str:
    """Return what compare_runs.py says, in one line, of runs that it refuses."""
    return in_process.refused(significance.main, *a, "--", *b)


def test_a_run_that_is_given_twice_is_refused(runs, tmp_path):
    bad, good = runs
    (tmp_path / "seed9").symlink_to(bad[0])
    for again in (bad[0], Path(os.path.relpath(bad[0])), tmp_path / "seed9"):
        for groups in (([bad[0], again], good), ([bad[0]], [again])):
            assert refused(*groups) == f"{bad[0]} and {again} are one run: give each run once"


# What a file from elsewhere may hold, and what is said of it.
BROKEN = {
    "train.yaml": [
        (b"common: {seed: 1\n", "cannot be read"),
        (b"\xff\x00\x80", "cannot be read"),
        (b"- a list\n", "is no config: it holds a list"),
        (b"common: {seed: '${no.such}'}\n", "no.such"),
        (b"common: {seed: one}\n", "common.seed: must be an integer, not one"),
        (b"common: {seed: [1]}\n", "common.seed: must be an integer, not [1]"),
    ],
    "evaluation/best/test.json": [
        (b'{"bleu": 3', "is no JSON"),
        (b'{"bleu": "\xff"}', "is no text in UTF-8"),
        (b"3", "holds no scores"),
        (b'{"bleu": 3}', "has no tokenized_bleu"),
        (b'{"bleu": "high"}', "bleu is high, which no evaluation wrote"),
    ],
    "evaluation/best/test.tok": [
        (b"\xff\n" * 40, "is no text in UTF-8"),
        (b"w1\n", "test.tok: 1 hypotheses, and a reference of 40 lines"),
    ],
    "evaluation/best/test.txt": [(b"w1\n", "test.txt: 40 hypotheses, and a reference of 1 lines")],
}


@pytest.mark.parametrize("name, content, words", [(name, *case) for name, cases in BROKEN.items() for case in cases])
def test_a_broken_file_of_a_run_is_said_in_one_line(runs, tmp_path, name, content, words):
    broken = make_run(tmp_path / "broken", 7, REFERENCE)
    (broken / name).write_bytes(content)
    line = refused(runs[0], [broken])
    assert words in line and str(broken) in line


def test_what_cannot_be_compared_is_refused(runs, tmp_path):
    bad, good = runs
    refuse = partial(in_process.refused, significance.main)
    assert "required: A" in refuse()
    assert "give them after --" in refuse(*bad)
    assert "give them after --" in refuse(*bad, "--")
    assert "no run folder" in refuse(bad[0], "--", tmp_path)
    (tmp_path / "unscored").mkdir()
    (tmp_path / "unscored/train.yaml").write_text("common: {seed: 1}\n")
    assert "was not scored" in refuse(bad[0], "--", tmp_path / "unscored")
    assert "was not scored" in refuse("--evaluation", "average5", bad[0], "--", good[0])
    other = make_run(tmp_path / "other", 1, translation(1, 0.3), name="test_2017")
    assert "was scored on test, " in refuse(bad[0], "--", other)
    lines = [*REFERENCE[:-1], "w1 w2 w3"]
    changed = make_run(tmp_path / "changed", 1, translation(1, 0.3), reference=lines)
    assert "test: the references of" in refuse(bad[0], "--", changed)
    lower = make_run(tmp_path / "lower", 1, translation(1, 0.3), lowercase=True)
    assert "was scored by nrefs:1|case:lc" in refuse(bad[0], "--", lower)
    assert "in one group have the same seed 1" in refuse(bad[0], make_run(tmp_path / "twin", 1, REFERENCE), "--", *good)
    (lower / "evaluation/best/test.tok.ref0").unlink()
    line = refuse(bad[0], "--", lower)
    assert "there is no" in line and "test.tok.ref0" in line and "again" in line
