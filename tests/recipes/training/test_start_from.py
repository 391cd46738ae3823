"""train.sh --from: a run that starts with the parameters of a trained model, and models that do not fit."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from recipes.evaluation import curves
from recipes.training import launch
from recipes.training.job import JobOptions
from recipes.training.run_folder import RunFolder
from support import command_line, toy_run

import rdrop_fairseq.tasks  # noqa: F401  (makes fairseq's checkpoints loadable)

TRAIN = "support.forked_training"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a config with its data, and runs/baseline, a run of 5 updates."""
    folder = toy_run.make_configs(tmp_path_factory.mktemp("toy"))
    trained(folder / "baseline.yaml", folder / "runs/baseline", "optimization.max_update=5")
    return folder / "rdrop.yaml"


def trained(config: Path, folder: Path, *options: object) -> str:
    result = command_line.run(TRAIN, config, "--out", folder, *options, succeeds=False)
    assert (result.status, result.stderr) == (0, ""), result.stdout[-3000:] + result.stderr
    return result.stdout


def model_of(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["model"]


def refusal(config: Path, folder: Path, source: Path, *overrides: str) -> str:
    with pytest.raises(SystemExit) as caught:
        launch.train(config, RunFolder(folder), 1, list(overrides), JobOptions(), source)
    assert isinstance(caught.value.code, str) and "\n" not in caught.value.code
    return caught.value.code


def test_a_run_starts_with_the_parameters_alone_and_goes_on_without_the_model(config, tmp_path):
    source = shutil.copytree(config.parent / "runs/baseline", tmp_path / "baseline")
    best, run = source / "checkpoints/checkpoint_best.pt", tmp_path / "run"
    frozen = ("--from", source, "ema.store_ema=true", "optimization.lr=[0.0]", "checkpoint.save_interval_updates=2")
    said = trained(config, run, *frozen, "optimization.max_update=2")
    assert f"Starting from {best}\n" in said
    of_source, of_run = model_of(best), model_of(run / "checkpoints/checkpoint_last.pt")
    assert of_source.keys() == of_run.keys() and all(torch.equal(of_run[key], of_source[key]) for key in of_source)
    checksum = hashlib.sha256(best.read_bytes()).hexdigest()
    assert (run / "started_from.txt").read_text() == f"{checksum}  {best}\n"
    state = torch.load(run / "start.pt", weights_only=True)
    assert state["last_optimizer_state"] is None and state["extra_state"].keys() == {"train_iterator", "ema"}
    assert list(curves.read_log(run / "train.log")["train_inner"]) == [1, 2]

    shutil.rmtree(source)
    trained(config, run, *frozen, "optimization.max_update=3")  # the same command, longer
    trained(config, run, *frozen[2:], "optimization.max_update=4")  # and without --from
    assert list(curves.read_log(run / "train.log")["train_inner"]) == [1, 2, 3, 4]
    other = refusal(config, run, tmp_path / "other", *frozen[2:])
    assert other == f"{run} was started from {best}, not from {tmp_path / 'other'}; use another --out"


@pytest.mark.parametrize("place", ["", "average5.pt", "checkpoints/checkpoint_best.pt"])
def test_other_words_in_a_dictionary_are_refused_wherever_the_checkpoint_lies(config, tmp_path, place):
    source = shutil.copytree(config.parent / "runs/baseline", tmp_path / "baseline")
    shutil.copyfile(source / "checkpoints/checkpoint_best.pt", source / "average5.pt")
    dictionaries = RunFolder(source).dictionaries
    text = dictionaries.read_text()
    checksum = text.split(" ")[0]
    dictionaries.write_text(text.replace(checksum, checksum[::-1]))
    assert "it was trained with other dictionaries than" in refusal(config, tmp_path / "run", source / place)


def test_a_checkpoint_is_a_start_too_and_a_killed_start_leaves_nothing_that_the_next_trusts(config, tmp_path):
    best = config.parent / "runs/baseline/checkpoints/checkpoint_best.pt"
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.start.write_bytes(b"of another start")
    run.started_from.write_text("of another start\n")
    trained(config, run.path, "--from", best, "optimization.max_update=1")
    assert run.started_from.read_text().endswith(f"  {best}\n")
    shutil.rmtree(run.checkpoints)
    run.finished.unlink()
    trained(config, run.path, "optimization.max_update=1")
    assert not run.start.exists() and not run.started_from.exists()
    assert "has trained without --from: leave it out" in refusal(config, run.path, best)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _program(path: Path) -> None:
    torch.save(Path("/"), path)


def _text(path: Path) -> None:
    path.write_text("Ein Mann.\n")


def _other(path: Path) -> None:
    torch.save({"some": "dictionary"}, path)


@pytest.mark.parametrize(
    "spoil, words",
    [
        (_cut, "checkpoint_best.pt is cut short, or no checkpoint of fairseq"),
        (_program, "checkpoint_best.pt is not loaded: it holds more than weights and settings"),
        (_other, "checkpoint_best.pt is cut short, or no checkpoint of fairseq"),
        (_text, "checkpoint_best.pt is cut short, or no checkpoint of fairseq"),
        (Path.unlink, "checkpoint_best.pt"),
    ],
)
def test_a_spoiled_model_is_refused_and_leaves_no_folder(config, tmp_path, spoil, words):
    source = shutil.copytree(config.parent / "runs/baseline", tmp_path / "baseline")
    spoil(source / "checkpoints/checkpoint_best.pt")
    assert words in refusal(config, tmp_path / "run", source)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["model.encoder.layers=2"], "it has another architecture: only the config has encoder.layers.1."),
        (["model.decoder.ffn_embed_dim=32"], "it has another architecture: decoder.layers.0.fc1."),
        (
            ["model.share_all_embeddings=true", "model.encoder.embed_dim=32", "model.decoder.embed_dim=32"],
            "another arch",
        ),
        (["checkpoint.finetune_from_model=x.pt"], "checkpoint.finetune_from_model=x.pt: leave it out: --from says"),
        (["model._name=no_such_model"], "building the model failed: "),
    ],
)
def test_a_config_that_does_not_fit_is_refused_and_leaves_no_folder(config, tmp_path, overrides, words):
    assert words in refusal(config, tmp_path / "run", config.parent / "runs/baseline", *overrides)
    assert not (tmp_path / "run").exists()


def test_other_dictionaries_are_refused(config, tmp_path):
    data = shutil.copytree(config.parent / "bin", tmp_path / "bin")
    source = config.parent / "runs/baseline"
    words = (data / "dict.de.txt").read_text().splitlines(keepends=True)
    for lang in ("de", "en"):
        (data / f"dict.{lang}.txt").write_text("".join(words[::-1]))
    override = f"task.data={data}"
    line = refusal(config, tmp_path / "run", source, override)
    assert line == f"--from {source}: it was trained with other dictionaries than {data} has"
    best = shutil.copy(source / "checkpoints/checkpoint_best.pt", tmp_path)
    for lang in ("de", "en"):
        (data / f"dict.{lang}.txt").write_text("".join(words[:-2]))
    line = refusal(config, tmp_path / "run", Path(best), override)
    assert line.startswith(f"--from {best}: it was trained with {len(words) + 4} entries in its dictionary, and {data}")


def test_a_run_cannot_start_from_itself(config, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    mine = shutil.copy(config.parent / "runs/baseline/checkpoints/checkpoint_best.pt", run.path / "mine.pt")
    assert "a run cannot start from itself; use another --out" in refusal(config, run.path, Path(mine))
