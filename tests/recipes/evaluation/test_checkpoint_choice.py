"""The checkpoint that an evaluation uses: a copy that stays as it is, and one that is not safe to load."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from recipes.evaluation import safe_checkpoint, translation
from support.in_process import refused
from support.learned_run import chosen, tree

import rdrop_fairseq  # noqa: F401  (makes fairseq's checkpoints loadable)


def test_the_checkpoint_stays_while_training_writes_a_new_one_in_its_place(changed, monkeypatch):
    best = changed / "checkpoints/checkpoint_best.pt"
    old, new = best.read_bytes(), (changed / "checkpoints/checkpoint_last.pt").read_bytes()
    with chosen(changed) as checkpoint:
        best.write_bytes(new)
        assert (
            checkpoint.path.read_bytes() == old
            and hashlib.sha256(old).hexdigest() == checkpoint.facts["checkpoint_sha256"]
        )
    assert old != new and not list(changed.rglob(".*"))

    def copied_while_written(source, copy):
        monkeypatch.undo()
        Path(copy).write_bytes(new[:1000])
        source.write_bytes(old)

    monkeypatch.setattr(shutil, "copyfile", copied_while_written)
    with chosen(changed) as checkpoint:
        assert checkpoint.path.read_bytes() == old


@pytest.mark.parametrize("name", ["a:b", "a${b}"])
def test_a_run_where_fairseq_would_read_other_paths_is_refused(tmp_path, name):
    with pytest.raises(SystemExit, match="fairseq cannot read from a path with"), chosen(tmp_path / name):
        pass


@pytest.mark.parametrize(
    "options, words",
    [
        (["--beam", "0"], "--beam: must be a positive integer, not '0'"),
        (["--beam", "1" * 20], "--beam: must be an integer up to 2147483647, not '11111111111111111111'"),
        (["--lenpen", "long"], "--lenpen: must be a number from -50 to 50, not 'long'"),
        (["--lenpen", "nan"], "--lenpen: must be a number from -50 to 50, not 'nan'"),
        (["--lenpen", "1e308"], "--lenpen: must be a number from -50 to 50, not '1e308'"),
        (["--lenpen"], "--lenpen: expected one argument"),
        (["--bean", "5"], "unrecognized arguments: --bean 5"),
        (["--average", "2", "--average-best", "2"], "not allowed with"),
        (["--average", "9"], "checkpoints saved by update, not 9; checkpoint.keep_interval_updates says how many"),
        (["--average-best", "3"], "holds 2 checkpoints best on validation, not 3; checkpoint.keep_best_checkpoints"),
    ],
)
def test_options_that_are_refused(learned, options, words):
    before = tree(learned)
    assert words in refused(translation.main, learned, *options)
    assert tree(learned) == before and not list(learned.rglob(".*"))


def _checkpoint(value: object):
    def no_checkpoint(run_folder: Path) -> None:
        torch.save(value, run_folder / "checkpoints/checkpoint_best.pt")

    return no_checkpoint


def _model(**settings: object):
    def change_model(run_folder: Path) -> None:
        path = run_folder / "checkpoints/checkpoint_best.pt"
        state = torch.load(path, weights_only=True)
        state["cfg"]["model"] = safe_checkpoint.items(state["cfg"]["model"]) | settings
        torch.save(state, path)

    return change_model


def _cut_best(run_folder: Path) -> None:
    best = run_folder / "checkpoints/checkpoint_best.pt"
    best.write_bytes(best.read_bytes()[:-100])


def _no_best(run_folder: Path) -> None:
    (run_folder / "checkpoints/checkpoint_best.pt").unlink()


@pytest.mark.parametrize(
    "spoil, words",
    [
        (_cut_best, "checkpoint_best.pt is cut short; --average N decodes without it"),
        (_no_best, "checkpoint_best.pt; has the run reached its first validation?"),
        (_checkpoint(torch.zeros(1)), "checkpoint_best.pt is no checkpoint of fairseq"),
        (_checkpoint({"model": {}, "cfg": {"model": "text"}}), "checkpoint_best.pt is no checkpoint of fairseq"),
        (_checkpoint(Path("/")), "checkpoint_best.pt is not loaded: it holds more than weights and settings"),
        (_model(encoder_layers="print(1)"), "fairseq could run its encoder_layers as a program: print(1)"),
        (_model(encoder={"conv_feature_layers": "[].x"}), "fairseq could run its conv_feature_layers as a program"),
        (_model(decoder_layers="${task.data}"), "fairseq could run its decoder_layers as a program: ${task.data}"),
        (_model(w2v_path="other.pt"), "checkpoint_best.pt is refused: its w2v_path names another checkpoint, other.pt"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_checkpoint_that_cannot_or_must_not_be_loaded_is_refused(changed, spoil, words):
    spoil(changed)
    before = tree(changed.parent)
    assert words in refused(translation.main, changed)
    assert tree(changed.parent) == before and not list(changed.rglob(".*"))


def test_arithmetic_of_literals_is_no_program():
    for text in ("[(512, 3)] * 4 + [(768, 3)]", "True", "-1", "3", " [(512, 10, 5)] + [(512,2,2)]*2 "):
        assert safe_checkpoint.is_arithmetic(text)
    for text in ("print(1)", "a", "[].__class__", "(x for x in [])", "f'{1}'", "[1][0]", "lambda: 1", "1 +", "\0", ""):
        assert not safe_checkpoint.is_arithmetic(text)
