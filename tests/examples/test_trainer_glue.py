"""BERT trains on tasks of GLUE by the paper's settings, with R-Drop's loss, and what is wrong is named."""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from recipes.data.glue import TASKS, Source
from recipes.data.sentences import Sentences
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, matthews_corrcoef
from support.examples import load_example
from support.fixed_dropout import fix_dropout
from support.glue import write_glue
from support.tiny_bert import LENGTH, write_bert, write_raw

TINY = ("--length", str(LENGTH), "--updates", "25", "--warmup", "2", "--batch", "8", "--lr", "0.01")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load_example("trainer_glue")


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    return load_example("glue_setup")


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
    """The folder of the results of a whole call."""
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
        assert 90 < last[0] <= best[0] <= 100
        assert (kl_loss[0] > 0) == (alpha > 0)


@pytest.mark.parametrize(("task", "score"), [("STS-B", "Pearson's"), ("cola", "Matthews'")])
def test_other_scores(
    task: str,
    score: str,
    example: ModuleType,
    words_of: Callable[[str], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Numbers and single sentences train too, with an evaluation at the end of each epoch and of the training."""
    _, *words = words_of(task.replace("-", "").lower())
    example.main([task, *words, "--seeds", "3", "--updates", "18", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert f"dev set, {score} correlation in percent, over the seeds 3:" in out
    assert out.count("'eval_score'") == 2 * 4  # 40 rows are 5 batches
    without, with_rdrop = (line.split() for line in out.splitlines()[-3:-1])
    assert (without[0], without[2], without[4], float(without[5])) == ("0", "-", "-", 0)
    assert float(with_rdrop[5]) > 0
    assert min(float(without[1]), float(with_rdrop[1])) > 80


def test_the_loss_of_numbers(example: ModuleType, setup: ModuleType, bert: Path, tmp_path: Path) -> None:
    """It is the squared error of both passes and alpha times their squared difference (equations 7 and 8)."""
    tokenizer, model = setup.load_model(SimpleNamespace(model=str(bert), classes=1, length=LENGTH))
    model = fix_dropout(model)
    batch = setup.collator(tokenizer, LENGTH)([("A cat sees.", "The dog.", 5.0), ("A dog.", "A bird sleeps.", 1.5)])
    doubled = {name: torch.cat([value] * 2) for name, value in batch.items() if name != "labels"}
    one, two = model.train()(**doubled).logits.squeeze(-1).chunk(2)
    arguments = example.TrainingArguments(output_dir=str(tmp_path), report_to="none")
    trainer = example.RDropTrainer(model, arguments, alpha=2.0, loss="mse")
    errors = [(output - batch["labels"]).square().mean() for output in (one, two)]
    expected = sum(errors) + 2 * (one - two).square().mean()
    torch.testing.assert_close(trainer.compute_loss(model, dict(batch)), expected)
    torch.testing.assert_close(trainer.divergences[0], (one - two).square().mean().detach())
    alone = model.eval()(**{name: value for name, value in batch.items() if name != "labels"}).logits.squeeze(-1)
    torch.testing.assert_close(trainer.compute_loss(model, dict(batch)), (alone - batch["labels"]).square().mean())


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
    words = words_of("cola")
    monkeypatch.setattr("sys.argv", ["trainer_glue.py", *words[:5], "--length", "32"])
    monkeypatch.chdir(tmp_path)
    for alpha in ([], ["0.25"]):
        monkeypatch.setattr("sys.argv", [*example.sys.argv, *(["--alpha", *alpha] if alpha else [])])
        with pytest.raises(Stopped):
            example.main()
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


@pytest.mark.parametrize("name", TASKS)
def test_reads_what_prepare_glue_writes(name: str, setup: ModuleType, tmp_path: Path) -> None:
    task, source = TASKS[name], Source(name, write_glue(tmp_path / "published", name), tmp_path)
    (tmp_path / "raw").mkdir()
    splits = {split: lambda split=split: source.rows(split) for split in source.files}
    Sentences(tmp_path, splits, task.labels, None, 1, len(task.sentences), task.keep_empty).raw(tmp_path)
    args = load_example("glue_options").read_options([name, "--model", "bert", "--data", str(tmp_path / "raw")], None)
    train, dev = setup.load_rows(args)
    assert (len(train), len(dev)) == (12, 6)
    assert {len(row) for row in (*train, *dev)} == {len(task.sentences) + 1}
    kinds = {0, 2.25, 5} if name == "STS-B" else {*range(args.classes)}
    assert {row[-1] for row in (*train, *dev)} == kinds
    assert train[1][0] == (tmp_path / "raw/train.input0").read_text().splitlines()[1]


def test_a_batch_of_pairs(setup: ModuleType, bert: Path) -> None:
    tokenizer, _ = setup.load_model(SimpleNamespace(model=str(bert), classes=2, length=8))
    batch = setup.collator(tokenizer, 8)([("The cat sees a dog here.", "A bird.", 1), ("The cat.", "A dog.", 0)])
    assert tokenizer.convert_ids_to_tokens(batch["input_ids"][0]) == "[CLS] the cat [SEP] a bird . [SEP]".split()
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]] * 2 or batch["labels"].tolist() == [1, 0]


def test_scores_are_those_of_scikit_learn_and_scipy(setup: ModuleType) -> None:
    rng = np.random.default_rng(1)
    logits, labels, numbers = rng.normal(size=(30, 2)), rng.integers(0, 2, 30), rng.normal(size=(30, 1))
    classes, predicted = SimpleNamespace(predictions=logits, label_ids=labels), logits.argmax(-1)
    assert setup.scorer("accuracy")(classes)["score"] == pytest.approx(100 * accuracy_score(labels, predicted))
    assert setup.scorer("mcc")(classes)["score"] == pytest.approx(100 * matthews_corrcoef(labels, predicted))
    of_numbers = SimpleNamespace(predictions=numbers, label_ids=logits[:, 0])
    pearson = pearsonr(numbers[:, 0], logits[:, 0]).statistic
    assert setup.scorer("pearson")(of_numbers)["score"] == pytest.approx(100 * pearson)
    constant = SimpleNamespace(predictions=np.ones((4, 1)) * [0, 1], label_ids=np.array([0, 1, 1, 0]))
    assert setup.scorer("mcc")(constant)["score"] == 0


REFUSED = {
    ("--alpha", "-1"): "--alpha: -1 must be a number >= 0",
    ("--batch", "0"): "--batch: 0 must be a number >= 1",
    ("--batch", "2.5"): "--batch: invalid int value: '2.5'",
    ("--lr", "nan"): "--lr: nan must be a number >= 0",
    ("--seeds", "4294967296"): "--seeds: 4294967296 must be a number >= 0 and < 4294967296",
    ("--warmup", "25"): "--warmup: 25 must be less than the 25 updates",
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


FAULTS = {
    "rte": {
        ("train.input1", b"a\n"): r"train.input1 and train.label must have the same number of lines$",
        ("valid.label", b"maybe\n" * 12): r"a label of valid: 'maybe' is not in list$",
        ("train.label", b"entailment\n" * 40): r"a label of valid: 'not_entailment' is not in list$",
        ("valid.input0", b"\xff\n" * 12): r"cannot read valid: 'utf-8' codec can't decode byte 0xff",
    },
    "cola": {("train.label", b"0\n1\n2\n3\n" * 10): r"train.label has 4 classes, and cola has 2$"},
    "stsb": {("valid.label", b"much\n" * 12): r"a label of valid: could not convert string to float: 'much'$"},
}


@pytest.mark.parametrize(("task", "file"), [(task, file) for task, of in FAULTS.items() for file in of])
def test_a_fault_of_a_file_is_named(
    task: str, file: tuple[str, bytes], example: ModuleType, words_of: Callable[[str], list[str]], tmp_path: Path
) -> None:
    (write_raw(tmp_path / "raw", task) / file[0]).write_bytes(file[1])
    with pytest.raises(SystemExit, match=rf"^--data .*: {FAULTS[task][file]}"):
        example.main([*words_of(task), "--data", str(tmp_path / "raw"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def without_a_layer(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))


def wider(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 64}))


MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "should have a `model_type` key"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no file named model.safetensors"),
    "no whole weights": (lambda folder: (folder / "model.safetensors").write_bytes(b"half"), "header"),
    "no vocabulary": (lambda folder: (folder / "vocab.txt").unlink(), "its tokenizer has 5 entries, and the model 16"),
    "a larger vocabulary": (
        lambda folder: (folder / "vocab.txt").write_text((folder / "vocab.txt").read_text() + "mouse\n"),
        "its tokenizer has 17 entries, and the model 16",
    ),
    "a layer less": (without_a_layer, r"its weights have no bert\.encoder\.layer\.1\.attention"),
    "another size": (wider, r"its weights have no bert\.encoder\.layer\.0\.intermediate\.dense"),
}


@pytest.mark.parametrize("fault", MODELS)
def test_a_model_that_cannot_be_used_is_refused_in_one_line(
    fault: str, setup: ModuleType, bert: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "bert"))
    change, message = MODELS[fault]
    change(folder)
    with pytest.raises(SystemExit, match=rf"(?i)^--model .*bert cannot be used: .*{message}") as refusal:
        setup.load_model(SimpleNamespace(model=str(folder), classes=2, length=LENGTH))
    assert "\n" not in str(refusal.value)


def test_a_head_of_other_classes_gives_way(setup: ModuleType, bert: Path, tmp_path: Path) -> None:
    _, model = setup.load_model(SimpleNamespace(model=str(bert), classes=3, length=LENGTH))
    model.save_pretrained(tmp_path)
    shutil.copy(bert / "vocab.txt", tmp_path)
    _, two = setup.load_model(SimpleNamespace(model=str(tmp_path), classes=2, length=LENGTH))
    assert two.classifier.weight.shape == (2, 32)
    name = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(two.state_dict()[name], model.state_dict()[name])


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
