"""What BERT on GLUE starts from: the rows that prepare_glue.sh writes, batches, models, scores, the loss of numbers."""

import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from recipes.data.glue import TASKS
from recipes.data.glue_source import Source
from recipes.data.sentences import Sentences
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, matthews_corrcoef
from support.examples import load_example
from support.fixed_dropout import fix_dropout
from support.glue import write_glue
from support.tiny_bert import LENGTH, write_bert, write_raw


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    return load_example("glue_setup")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"))


def options(task: str, *words: str) -> Namespace:
    return load_example("glue_options").read_options([task, "--model", "bert", *words], None)


@pytest.mark.parametrize("name", TASKS)
def test_reads_what_prepare_glue_writes(name: str, setup: ModuleType, tmp_path: Path) -> None:
    task, source = TASKS[name], Source(name, TASKS[name], write_glue(tmp_path / "published", name), tmp_path)
    (tmp_path / "raw").mkdir()
    splits = {split: lambda split=split: source.rows(split) for split in source.files}
    Sentences(tmp_path, splits, task.labels, None, 1, len(task.sentences), task.keep_empty).raw(tmp_path)
    args = options(name, "--data", str(tmp_path / "raw"))
    train, dev = setup.load_rows(args)
    assert (len(train), len(dev)) == (12, 6)
    assert {len(row) for row in (*train, *dev)} == {len(task.sentences) + 1}
    kinds = {0, 2.25, 5} if name == "STS-B" else {*range(args.classes)}
    assert {row[-1] for row in (*train, *dev)} == kinds
    assert train[1][0] == (tmp_path / "raw/train.input0").read_text().splitlines()[1]


def test_a_batch_of_pairs(setup: ModuleType, bert: Path) -> None:
    tokenizer, _ = setup.load_model(SimpleNamespace(model=str(bert), classes=2, length=8))
    batch = setup.collator(tokenizer, 8)([("The cat sees a dog here.", "A bird.", 1), ("The.", "A.", 0)])
    assert tokenizer.convert_ids_to_tokens(batch["input_ids"][0]) == "[CLS] the cat sees [SEP] a bird [SEP]".split()
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 0]]
    assert batch["attention_mask"].sum(-1).tolist() == [8, 7]
    assert batch["labels"].tolist() == [1, 0]


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


def test_the_loss_of_numbers(setup: ModuleType, bert: Path, tmp_path: Path) -> None:
    """It is the squared error of both passes and alpha times their squared difference (equations 7 and 8)."""
    tokenizer, model = setup.load_model(SimpleNamespace(model=str(bert), classes=1, length=LENGTH))
    model = fix_dropout(model)
    batch = setup.collator(tokenizer, LENGTH)([("A cat sees.", "The dog.", 5.0), ("A dog.", "A bird sleeps.", 1.5)])
    doubled = {name: torch.cat([value] * 2) for name, value in batch.items() if name != "labels"}
    one, two = model.train()(**doubled).logits.squeeze(-1).chunk(2)
    example = load_example("trainer_classification")
    arguments = example.TrainingArguments(output_dir=str(tmp_path), report_to="none")
    trainer = example.RDropTrainer(model, arguments, alpha=2.0, loss="mse")
    errors = [(output - batch["labels"]).square().mean() for output in (one, two)]
    expected = sum(errors) + 2 * (one - two).square().mean()
    torch.testing.assert_close(trainer.compute_loss(model, dict(batch)), expected)
    torch.testing.assert_close(trainer.divergences[0], (one - two).square().mean().detach())
    alone = model.eval()(**{name: value for name, value in batch.items() if name != "labels"}).logits.squeeze(-1)
    torch.testing.assert_close(trainer.compute_loss(model, dict(batch)), (alone - batch["labels"]).square().mean())


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
def test_a_fault_of_a_file_is_named(task: str, file: tuple[str, bytes], setup: ModuleType, tmp_path: Path) -> None:
    (write_raw(tmp_path / "raw", task) / file[0]).write_bytes(file[1])
    with pytest.raises(SystemExit, match=rf"^--data .*: {FAULTS[task][file]}"):
        setup.load_rows(options(task, "--data", str(tmp_path / "raw")))


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
