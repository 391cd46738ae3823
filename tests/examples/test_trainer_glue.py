"""BERT trains on tasks of GLUE by the paper's settings, with R-Drop's loss, and what is wrong is named."""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from support.examples import load_example
from support.tiny_bert import LENGTH, write_bert, write_raw

TINY = ("--length", str(LENGTH), "--updates", "18", "--warmup", "2", "--batch", "8", "--lr", "0.01")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load_example("trainer_glue")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def words_of(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """Return the arguments of a small training of a task."""
    folder = tmp_path_factory.mktemp("glue")

    def words(task: str) -> list[str]:
        raw = folder / task
        if not raw.exists():
            write_raw(raw, task)
        return [task, "--model", str(bert), "--data", str(raw), *TINY]

    return words


@pytest.fixture(scope="module")
def trained(
    example: ModuleType, words_of: Callable[[str], list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of the results of a whole call."""
    out = tmp_path_factory.mktemp("trained")
    example.main([*words_of("rte"), "--seeds", "1", "2", "--out", str(out)])
    return out


def test_ends_with_a_table_of_baseline_and_rdrop(
    example: ModuleType, words_of: Callable[[str], list[str]], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example.main([*words_of("rte"), "--seeds", "1", "2", "--out", str(trained)])  # all is done: it shows the scores
    *runs, _, title, _, without, with_rdrop, figure = capsys.readouterr().out.splitlines()
    assert [run.split(":")[0] for run in runs] == [f"alpha {alpha}, seed {seed}" for seed in (1, 2) for alpha in (0, 1)]
    assert title == "rte, dev set, accuracy in percent, over the seeds 1 2:"
    assert figure.endswith("seeds.png.") and (trained / "seeds.png").stat().st_size > 0
    for alpha, line in ((0, without), (1, with_rdrop)):
        saved = [json.loads((trained / f"alpha{alpha}_seed{seed}.json").read_text())["scores"] for seed in (1, 2)]
        shown = [float(word) for word in line.split()]
        values = [[scores[name] for scores in saved] for name in ("best", "last", "kl_loss")]
        best, last, kl_loss = [(sum(pair) / 2, abs(pair[0] - pair[1]) / math.sqrt(2)) for pair in values]
        assert shown == pytest.approx([alpha, *best, *last, kl_loss[0]], abs=0.006)
        assert 60 < last[0] <= best[0] <= 100
        assert (kl_loss[0] > 0) == (alpha > 0)


SCORES = {"STS-B": "Pearson's correlation", "cola": "Matthews' correlation", "MRPC": "accuracy", "MNLI": "accuracy"}


@pytest.mark.parametrize(("task", "score"), SCORES.items())
def test_other_scores(
    task: str,
    score: str,
    example: ModuleType,
    words_of: Callable[[str], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Numbers, single sentences and three classes train too; each epoch, and the training, ends with an evaluation."""
    _, *words = words_of(task.replace("-", "").lower())
    monkeypatch.setattr(example, "draw", lambda *_: None)  # it takes as long as a training
    example.main([task, *words, "--updates", "12", "--seeds", "2", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert f"dev set, {score} in percent, over the seeds 2:" in out
    assert out.count("'eval_score'") == 2 * 3  # 40 rows are 5 batches
    without, with_rdrop = (line.split() for line in out.splitlines()[-2:])
    assert (without[0], without[2], without[4], float(without[5])) == ("0", "-", "-", 0)
    assert float(with_rdrop[5]) > 0
    assert min(float(without[1]), float(with_rdrop[1])) > 50


def test_the_training_is_that_of_the_config(
    example: ModuleType, words_of: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the paper's table 8 says of CoLA reaches the optimizer, and the learning rate rises and falls linearly."""
    seen: list[Any] = []

    class Stopped(Exception):  # noqa: N818 (it is no error)
        pass

    def train(trainer: Any) -> None:
        seen.append(trainer)
        trainer.create_optimizer_and_scheduler(trainer.args.max_steps)
        raise Stopped

    monkeypatch.setattr(example.RDropTrainer, "train", train)
    for alpha in ([], ["--alpha", "0.25"]):
        with pytest.raises(Stopped):
            example.main([*words_of("cola")[:5], "--length", str(LENGTH), *alpha, "--out", str(tmp_path)])
    first, second = seen
    assert (first.alpha, second.alpha, first.loss) == (0, 0.25, "cross_entropy")
    assert (first.args.max_steps, first.args.per_device_train_batch_size) == (5336, 16)
    decayed, others = first.optimizer.param_groups
    assert (decayed["betas"], decayed["eps"]) == ((0.9, 0.98), 1e-6)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.01, 0)
    (rate, *_) = first.lr_scheduler.lr_lambdas
    shares = [1e-5 * rate(update) for update in (0, 160, 320, (320 + 5336) // 2, 5336)]
    assert shares == pytest.approx([0, 5e-6, 1e-5, 5e-6, 0])
    rates = {module.p for module in first.model.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.1}


REFUSED = {
    ("--alpha", "-1"): "--alpha: -1 must be a number >= 0",
    ("--batch", "0"): "--batch: 0 must be a number >= 1",
    ("--batch", "2.5"): "--batch: invalid int value: '2.5'",
    ("--lr", "nan"): "--lr: nan must be a number >= 0",
    ("--seeds", "4294967296"): "--seeds: 4294967296 must be a number >= 0 and < 4294967296",
    ("--warmup", "18"): "--warmup: 18 must be less than the 18 updates",
    ("--length", "33"): "--length 33 is more than its 32 positions",
    ("--data", "nowhere"): "--data nowhere: cannot read train: [Errno 2] No such file or directory",
    ("--model", "/nowhere/bert"): "--model /nowhere/bert cannot be used: ",
}


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_what_cannot_be_is_refused_in_one_line(
    words: tuple[str, str],
    example: ModuleType,
    words_of: Callable[[str], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as refusal:
        example.main([*words_of("rte"), "--out", str(tmp_path), *words])
    line = capsys.readouterr().err or f"{refusal.value.code}\n"
    assert REFUSED[words] in line and line.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_unknown_task_is_refused(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        example.main(["WNLI", "--model", "bert-base-uncased"])
    line = "TASK: must be one of cola, mnli, mrpc, qnli, qqp, rte, sst2, stsb, not 'WNLI'\n"
    assert capsys.readouterr().err.endswith(line)


def test_goes_on_after_the_trainings_that_are_done(
    example: ModuleType,
    words_of: Callable[[str], list[str]],
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(trained / "alpha0_seed1.json", out)
    words = [*words_of("rte"), "--seeds", "1", "--out", str(out)]

    def stop(*paths: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            example.main(words)
    capsys.readouterr()
    example.main(words)
    shown = capsys.readouterr().out
    assert shown.startswith("alpha 0, seed 1: best ") and shown.count("'train_runtime'") == 1
    ours, theirs = ((folder / "alpha1_seed1.json").read_text() for folder in (out, trained))
    assert ours == theirs
    with pytest.raises(SystemExit, match=r"alpha0_seed1\.json was made with --batch 8: give that, or another --out$"):
        example.main([*words, "--batch", "4"])
