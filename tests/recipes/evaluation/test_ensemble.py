"""Several runs that decode together: evaluate_translation.sh RUN RUN..."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from recipes.evaluation import checkpoint_choice, decoding, translate, translation
from recipes.training.run_folder import RunFolder
from support import command_line
from support.in_process import printed, refused


@pytest.fixture
def second(learned, tmp_path):
    """Another run on the data of the first one: its best checkpoint is an early one."""
    run = tmp_path / "early"
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(learned / "train.yaml", run)
    early = min((learned / "checkpoints").glob("checkpoint_*_*.pt"), key=lambda path: int(path.stem.split("_")[-1]))
    shutil.copy(early, run / "checkpoints/checkpoint_best.pt")
    return run


def test_two_runs_decode_as_fairseqs_ensemble(learned, second, tmp_path):
    printed(translation.main, learned, second, "--beam", 2, "--out", tmp_path / "out")
    (folder,) = (tmp_path / "out/evaluation").iterdir()
    assert folder.name.startswith("ensemble_") and folder.name.endswith("early_beam2")
    result = json.loads((folder / "made_up.json").read_text())
    assert result["ensemble"] == [str(learned), str(second)]
    assert len(set(result["checkpoint_sha256"])) == len(result["updates"]) == 2
    both = ":".join(str(run / "checkpoints/checkpoint_best.pt") for run in (learned, second))
    flags = ["--user-dir", command_line.USER_DIR, "--cpu", "--num-workers", 0, "--remove-bpe", "--batch-size", 10]
    flags += ["--required-batch-size-multiple", 1, "--beam", 2, "--lenpen", 0.6, "--max-len-a", 1.5, "--max-len-b", 3]
    where = [learned.parent / "data/bin", "--path", both, "--results-path", tmp_path / "generated"]
    command_line.run(command_line.GENERATE, *where, *flags)
    expected = decoding.read_generated(tmp_path / "generated/generate-test.txt")
    assert (folder / "made_up.tok").read_text().splitlines() == [of_line[0].text for of_line in expected.values()]


def test_two_runs_translate_as_they_are_evaluated(learned, second, tmp_path, monkeypatch):
    monkeypatch.setattr(translate, "Preparation", lambda _: SimpleNamespace(encode=lambda _: list, text=lambda _: list))
    printed(translation.main, learned, second, "--out", tmp_path)
    (expected,) = tmp_path.glob("evaluation/*/another.tok")
    assert printed(translate.main, learned, second, learned.parent / "data/tok/another.de") == expected.read_text()


def test_results_are_named_after_the_runs_and_lie_in_the_first(learned, second):
    printed(translation.main, second, learned, "--beam", 1)
    (folder,) = (second / "evaluation").iterdir()
    assert folder.name.startswith("ensemble_") and folder.name.endswith("_beam1")


@pytest.mark.parametrize(
    "names, called",
    [
        (("x/seed1", "x/seed2"), "ensemble_seed1+seed2"),
        (("x/a/seed1", "x/b/seed1"), "ensemble_a-seed1+b-seed1"),
        (("x/dropout0.3", "x/dropout0.1"), "ensemble_dropout0.3+dropout0.1"),
        (("one.pt", "two.pt"), "ensemble_one+two"),
        (tuple(f"a_rather_long_name_{number}" for number in range(9)), "ensemble_9_"),
    ],
)
def test_names(tmp_path, names, called):
    held = checkpoint_choice.Checkpoint((), "one", "best", {"updates": 1, "checkpoint_sha256": ""}, (9, 7))
    runs = [RunFolder(tmp_path / name) for name in names]
    together = checkpoint_choice._together(runs, [held] * len(runs), "best")
    assert together.name.startswith(called) and len(together.name) < 150 and together.positions == (9, 7)
    averaged = checkpoint_choice._together(runs, [held] * len(runs), "average5")
    assert averaged.name == f"{together.name}_average5"


def test_other_languages_dictionaries_and_sizes_are_refused(learned, second):
    config = (second / "train.yaml").read_text()
    (second / "train.yaml").write_text(config.replace("source_lang: de", "source_lang: fr"))
    line = f"{second} translates fr-en, and {learned} de-en: they cannot decode together"
    assert line in refused(translation.main, learned, second)
    (second / "train.yaml").write_text(config)
    (second / "dictionaries.txt").write_text("0" * 64 + "  dict.de.txt\n")
    line = f"{second} was trained with other dictionaries than {learned}: they cannot decode together"
    assert line in refused(translation.main, learned, second)
    (second / "dictionaries.txt").unlink()
    best = second / "checkpoints/checkpoint_best.pt"
    state = torch.load(best, weights_only=True)
    state["model"]["decoder.embed_tokens.weight"] = torch.zeros(3, 16)
    torch.save(state, best)
    assert "its decoder has 3 entries" in refused(translation.main, learned, second)
    assert "are one run: give each run once" in refused(translation.main, learned, f"{learned}/../{learned.name}")
