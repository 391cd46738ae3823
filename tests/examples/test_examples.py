"""The examples run, and their losses are R-Drop's: equal to the reference, in parts of a batch and in processes too."""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import reference
import torch
import torch.nn.functional as F
from support.command_line import Result, start
from support.examples import EXAMPLES, FILES, load_example
from support.fixed_dropout import fix_dropout
from support.places import ROOT
from torch import Tensor, nn

TRAINERS = ("trainer_classification", "trainer_language_model")

load = functools.cache(load_example)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples write to a folder runs/ where they are started."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Load an example whose model drops the same in every run."""

    def load_fixed(name: str) -> ModuleType:
        example = load(name)
        build_model = example.build_model
        monkeypatch.setattr(example, "build_model", lambda: fix_dropout(build_model()))
        return example

    return load_fixed


def batch_of(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def expected_loss(logits: Tensor, target: Tensor, alpha: float) -> Tensor:
    """Return the mean over targets of the reference's loss, from the logits of [x; x]."""
    split = logits.detach().double().unflatten(0, (2, len(target)))
    loss = reference.rdrop(split, target, alpha, padding_idx=-100).loss / target.ne(-100).sum()
    return loss.float()


@pytest.mark.parametrize("name", EXAMPLES)
def test_prints_what_it_got_with_and_without_rdrop(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = load(name)
    monkeypatch.setattr(example, "train", functools.partial(example.train, epochs=1))
    example.main()
    *_, head, without, with_rdrop = capsys.readouterr().out.splitlines()
    assert re.split(r" {2,}", head)[::3] == ["alpha", "KL in training"]
    assert [float(line.split()[0]) for line in (without, with_rdrop)] == [0, 1]
    assert float(without.split()[-1]) == 0
    assert float(with_rdrop.split()[-1]) > 0


def test_plain_loop() -> None:
    example = load("plain_loop")
    torch.manual_seed(1)
    model = example.build_model()
    passes = example.RDrop(model)
    images, target = example.stripes(6, seed=3)[:]

    torch.manual_seed(2)
    loss, kl_loss = example.training_loss(passes, images, target, 2.0)
    torch.manual_seed(2)
    logits = model(torch.cat([images, images]))
    torch.testing.assert_close(loss, expected_loss(logits, target, 2.0))
    difference = expected_loss(logits, target, 1.0) - expected_loss(logits, target, 0.0)
    assert kl_loss == pytest.approx(difference.item(), rel=1e-3)

    torch.manual_seed(2)
    loss, kl_loss = example.training_loss(passes, images, target, 0.0)
    torch.manual_seed(2)
    assert (loss, kl_loss) == (F.cross_entropy(model(images), target), 0.0)
    assert example.evaluate(model, example.stripes(6, seed=3)) == example.evaluate(model, example.stripes(6, seed=3))


def test_trainer_classification(fixed: Callable[[str], ModuleType]) -> None:
    example = fixed("trainer_classification")
    model = example.build_model()
    inputs = batch_of(example.sequences(6, seed=3))
    arguments = example.TrainingArguments(output_dir="runs", report_to="none")
    trainer = example.RDropTrainer(model, arguments, alpha=2.0)
    ids, mask = (torch.cat([inputs[name]] * 2) for name in ("input_ids", "attention_mask"))
    loss = trainer.compute_loss(model.train(), dict(inputs), num_items_in_batch=6)
    torch.testing.assert_close(loss, expected_loss(model(ids, mask).logits, inputs["labels"], 2.0))
    # In evaluation it is the model's own loss, and so it is with alpha 0.
    assert trainer.compute_loss(model.eval(), dict(inputs)) == model(**inputs).loss
    without = example.RDropTrainer(model.train(), arguments, alpha=0.0)
    assert without.compute_loss(model, dict(inputs)) == model(**inputs).loss


def test_trainer_language_model(fixed: Callable[[str], ModuleType]) -> None:
    example = fixed("trainer_language_model")
    model = example.build_model()
    inputs = batch_of(example.texts(6, seed=3))
    target = inputs["labels"][:, 1:]
    ids, mask = (torch.cat([inputs[name]] * 2) for name in ("input_ids", "attention_mask"))
    logits = model.train()(ids, mask).logits[:, :-1]
    model.alpha = 2.0
    loss = model(**inputs).loss
    torch.testing.assert_close(loss, expected_loss(logits, target, 2.0))
    torch.testing.assert_close(model(**inputs, num_items_in_batch=10).loss, loss * target.ne(-100).sum() / 10)
    difference = expected_loss(logits, target, 1.0) - expected_loss(logits, target, 0.0)
    torch.testing.assert_close(model.kl_loss, difference, rtol=1e-4, atol=1e-5)
    # In evaluation it is the plain loss of the logits.
    output = model.eval()(**inputs)
    plain = F.cross_entropy(output.logits[:, :-1].flatten(0, 1), target.flatten(), ignore_index=-100)
    torch.testing.assert_close(output.loss, plain)


@pytest.mark.parametrize("name", TRAINERS)
def test_a_batch_in_parts_trains_as_the_whole(name: str, fixed: Callable[[str], ModuleType]) -> None:
    example = fixed(name)

    def trained(batch: int, accumulate: int) -> tuple[dict[str, Tensor], list[float]]:
        trainer, _ = example.train(1.0, epochs=1, batch=batch, accumulate=accumulate)
        return trainer.model.state_dict(), [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    (whole, losses), (parts, losses_of_parts) = trained(32, 1), trained(16, 2)
    assert losses_of_parts == pytest.approx(losses, rel=1e-4)
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def several_processes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Run the example of several processes: in two and in one, for a folder with both ends, and by its command."""
    folder = tmp_path_factory.mktemp("several_processes")
    text = (ROOT / "examples/several_processes.py").read_text()
    ((variable, words),) = re.findall(r"^    (\w+=1) torchrun (.* examples/.*)$", text, re.M)
    env = dict([variable.split("=")])
    process = start("support.processes_example", folder, *words.split(), cwd=ROOT, env=env)
    return folder, process.result()


def test_two_processes_train_as_one(several_processes: tuple[Path, Result]) -> None:
    folder, result = several_processes
    assert result.status == 0, result.stderr
    (one, shown, count), (two, shown_by_two, count_of_two) = (
        torch.load(folder / f"{name}.pt") for name in ("one", "two")
    )
    assert (count, count_of_two) == (1, 2)
    assert shown_by_two == pytest.approx(shown, rel=1e-4)
    assert shown["kl_loss"] > 0
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5)


def test_the_command_of_several_processes(several_processes: tuple[Path, Result]) -> None:
    _, result = several_processes
    assert result.status == 0, result.stderr
    *_, count, head, without, with_rdrop, _ = result.stdout.splitlines()  # at the end a line of one process
    assert (count, head.split()[0]) == ("2 processes", "alpha")
    assert [float(line.split()[0]) for line in (without, with_rdrop)] == [0, 1]
    assert float(with_rdrop.split()[-1]) > float(without.split()[-1]) == 0


def test_examples_fit_on_a_page() -> None:
    assert ["plain_loop", "several_processes", *TRAINERS] == EXAMPLES
    for path in FILES:
        assert len(path.read_text().splitlines()) < 120, path.name


def test_readme_has_the_commands_of_the_programs() -> None:
    command = re.compile(r"^    (.*(?:python|torchrun) .*examples/\w+\.py.*)$", re.M)
    headers = [line for path in FILES for line in command.findall(path.read_text())]
    assert sorted(command.findall((ROOT / "examples/README.md").read_text())) == sorted(headers)


def test_fixed_dropout_makes_two_passes_differ() -> None:
    model = fix_dropout(nn.Sequential(nn.Dropout(0.5)))
    assert model(torch.ones(2, 3)).tolist() == [[0, 1.5, 1.5], [1.5, 0, 1.5]]
