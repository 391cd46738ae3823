"""scripts/average_checkpoints.py: which checkpoints are averaged, the mean, what is kept and what is refused."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from recipes.evaluation import average
from support.in_process import printed, refused
from support.unchanged import unchanged


def write_checkpoint(path: Path, maximize: bool = True, **model: torch.Tensor) -> None:
    """Write a checkpoint in the form of fairseq's, with these parameters."""
    torch.save(
        {
            "args": None,
            "cfg": {"checkpoint": {"maximize_best_checkpoint_metric": maximize}, "args": Namespace(arch="toy")},
            "model": model,
            "optimizer_history": [{"optimizer_name": "Adam", "lr_scheduler_state": {}, "num_updates": 7}],
            "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
            "last_optimizer_state": {"state": {0: torch.ones(1000)}},
        },
        path,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints by update, by epoch and the best, each with the parameter w of its number."""
    made = tmp_path / "checkpoints"
    made.mkdir()
    for name, value in {
        "checkpoint_1_5": 5,
        "checkpoint_2_10": 10,
        "checkpoint_12_100": 100,
        "checkpoint9": 9,
        "checkpoint10": 10,
        "checkpoint11": 11,
        "checkpoint.best_bleu_9.8001": 98,
        "checkpoint.best_bleu_10.2000": 102,
        "checkpoint.best_bleu_10.2102": 102.1,
        "checkpoint_best": 1e6,
        "checkpoint_last": 1e6,
    }.items():
        write_checkpoint(made / f"{name}.pt", w=torch.tensor([float(value), 0.0]), steps=torch.tensor(3))
    return made


def averaged(folder: Path, *options: object) -> dict[str, torch.Tensor]:
    out = folder.parent / "mean.pt"
    with unchanged(folder):
        printed(average.main, folder, out, *options)
    return torch.load(out, weights_only=False)["model"]


@pytest.mark.parametrize(
    "options, mean",
    [
        (["--last", 1], 100),
        (["--last", 2], (100 + 10) / 2),
        (["--last", 3], (100 + 10 + 5) / 3),
        (["--last", 2, "--by", "update"], (100 + 10) / 2),
        (["--last", 2, "--by", "epoch"], (11 + 10) / 2),
        (["--best", 2], (102.1 + 102) / 2),
        (["--best", 3], (102.1 + 102 + 98) / 3),
    ],
)
def test_the_mean_of_the_chosen_checkpoints(folder, options, mean):
    model = averaged(folder, *options)
    torch.testing.assert_close(model["w"], torch.tensor([mean, 0.0]))
    assert model["w"].dtype == torch.float32
    assert model["steps"] == 3 and model["steps"].dtype == torch.int64


def test_where_only_epochs_were_saved_the_last_are_epochs(folder):
    for path in folder.glob("checkpoint_*_*.pt"):
        path.unlink()
    assert averaged(folder, "--last", 2)["w"][0] == 10.5


def test_the_best_of_a_metric_that_falls_are_the_smallest(folder):
    for path in folder.glob("checkpoint.best_*"):
        path.unlink()
    for value in ("3.0001", "2.5000", "11.0001"):
        w = torch.tensor([float(value)])
        write_checkpoint(folder / f"checkpoint.best_valid_loss_{value}.pt", maximize=False, w=w)
    assert averaged(folder, "--best", 2)["w"].item() == pytest.approx((2.5 + 3.0001) / 2)


def test_half_precision_is_averaged_in_full_and_kept_in_float32(folder):
    for number, value in ((200, 1.0), (300, 1.0 + 2**-10)):
        write_checkpoint(folder / f"checkpoint_20_{number}.pt", w=torch.tensor([value]).half())
    model = averaged(folder, "--last", 2)
    assert model["w"].dtype == torch.float32 and model["w"].item() == 1.0 + 2**-11  # float16 would round it


def test_the_result_says_what_it_is_of_and_holds_no_optimizer_state(folder):
    line = printed(average.main, folder, folder.parent / "mean.pt", "--last", 2)
    assert line.endswith("mean.pt is the average of checkpoint_12_100.pt, checkpoint_2_10.pt\n")
    state = torch.load(folder.parent / "mean.pt", weights_only=False)
    assert "last_optimizer_state" not in state
    assert state["cfg"]["checkpoint"]["maximize_best_checkpoint_metric"] is True
    assert torch.load(folder / "checkpoint_12_100.pt", weights_only=False)["last_optimizer_state"]


def test_tied_embeddings_stay_one_tensor(folder):
    for number in (200, 300):
        tied = torch.full((100, 100), float(number))
        other = tied if number == 300 else tied + 7  # tied in the newest checkpoint alone
        write_checkpoint(folder / f"checkpoint_20_{number}.pt", encoder=tied, decoder=tied, output=tied, other=other)
    model = averaged(folder, "--last", 2)
    for name in ("encoder", "decoder", "output"):
        assert torch.equal(model[name], torch.full((100, 100), 250.0))
        assert model[name].data_ptr() == model["encoder"].data_ptr()
    assert torch.equal(model["other"], torch.full((100, 100), 253.5))
    assert (folder.parent / "mean.pt").stat().st_size < 3 * 100 * 100 * 4  # of two tensors


@pytest.mark.parametrize(
    "options, words",
    [
        (["--last", 4], "holds 3 checkpoints saved by update, not 4; checkpoint.keep_interval_updates says how many"),
        (["--last", 9, "--by", "epoch"], "holds 3 checkpoints saved by epoch, not 9; checkpoint.keep_last_epochs"),
        (["--best", 4], "holds 3 checkpoints best on validation, not 4; checkpoint.keep_best_checkpoints"),
        (["--last", 0], "--last: must be a positive integer, not '0'"),
        ([], "one of the arguments --last --best is required"),
        (["--best", 2, "--by", "update"], "--by goes with --last"),
        (["--last", 2, "--best", 2], "not allowed with"),
    ],
)
def test_what_is_asked_for_and_not_there_is_refused(folder, options, words):
    assert words in refused(average.main, folder, folder.parent / "mean.pt", *options)
    assert list(folder.parent.iterdir()) == [folder]


def test_checkpoints_that_do_not_fit_together_are_refused(folder):
    out = folder.parent / "mean.pt"
    newest = folder / "checkpoint_12_100.pt"
    for model in ({"w": torch.zeros(3)}, {"w": torch.zeros(2)}, {"v": torch.zeros(2), "w": torch.zeros(2)}):
        write_checkpoint(newest, **model)
        assert "hold different models: they differ in" in refused(average.main, folder, out, "--last", 2)
    assert not out.exists()


def test_a_cut_short_checkpoint_and_a_missing_folder_are_refused(folder):
    out = folder.parent / "mean.pt"
    for name, options in (("checkpoint_2_10.pt", ["--last", 2]), ("checkpoint.best_bleu_10.2102.pt", ["--best", 2])):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-100])
        assert f"{path} is cut short" in refused(average.main, folder, out, *options)
    assert "there is no folder" in refused(average.main, folder / "nowhere", out, "--last", 2)
    assert list(folder.parent.iterdir()) == [folder]


def test_a_checkpoint_with_a_class_that_torch_does_not_load_is_refused(folder):
    torch.save(
        {"model": {"w": torch.zeros(2)}, "args": None, "extra_state": Path("x")}, folder / "checkpoint_30_400.pt"
    )
    line = refused(average.main, folder, folder.parent / "mean.pt", "--last", 2)
    assert "checkpoint_30_400.pt cannot be loaded" in line and "pathlib" in line


@pytest.mark.parametrize(
    "content, words",
    [
        ([1], "checkpoint_30_400.pt cannot be loaded as a checkpoint of fairseq: "),
        ({"model": {}}, "checkpoint_30_400.pt cannot be loaded as a checkpoint of fairseq: "),
        ({"state_dict": {"w": torch.zeros(2)}}, "cannot be loaded as a checkpoint of fairseq: "),
        ({"model": {"w": 1}, "extra_state": {}, "optimizer_history": [{}]}, "cannot be loaded as a checkpoint"),
        ({"model": [torch.zeros(2)]}, "is no checkpoint of fairseq: it holds no model"),
        ({"model": {"w": "text"}}, "is no checkpoint of fairseq: it holds no model"),
        ({"model": {}, "extra_state": {"train_iterator": {}}}, "is no checkpoint of fairseq: it holds no model"),
    ],
)
def test_what_is_no_checkpoint_of_fairseq_is_refused(folder, content, words):
    newest = folder / "checkpoint_30_400.pt"
    if isinstance(content, dict) and words.startswith("is no"):
        content = torch.load(folder / "checkpoint_12_100.pt", weights_only=False) | content
    torch.save(content, newest)
    assert words in refused(average.main, folder, folder.parent / "mean.pt", "--last", 2)
    newest.write_bytes(b"\xff\x00 text")
    assert f"{newest} is cut short, or no checkpoint" in refused(
        average.main, folder, folder.parent / "mean.pt", "--last", 2
    )
    newest.unlink()
    newest.mkdir()
    assert str(newest) in refused(average.main, folder, folder.parent / "mean.pt", "--last", 2)
    assert list(folder.parent.iterdir()) == [folder]


def test_the_best_of_a_run_that_does_not_name_its_metric_are_refused(folder):
    best = folder / "checkpoint.best_bleu_10.2102.pt"
    torch.save(torch.load(best, weights_only=False) | {"cfg": {"checkpoint": {}}}, best)
    line = refused(average.main, folder, folder.parent / "mean.pt", "--best", 2)
    assert line == f"{best} does not say whether a high or a low value of its metric is good"


def test_an_average_takes_the_place_of_an_average_alone(folder):
    taken = "exists and is no average that this tool made: choose another OUT"
    text = folder.parent / "text"
    text.write_text("not to be lost\n")
    (folder.parent / "link").symlink_to(folder / "checkpoint_last.pt")
    for out in (text, folder, folder / "checkpoint_last.pt", folder / "checkpoint9.pt", folder.parent / "link"):
        with unchanged(folder.parent):
            assert refused(average.main, folder, out, "--last", 2) == f"{out.resolve()} {taken}"
    assert refused(average.main, folder, "/dev/null", "--last", 2) == f"/dev/null {taken}"
    for name in ("last", "best"):
        (folder / f"checkpoint_{name}.pt").unlink()
    for name in ("checkpoint_last.pt", "checkpoint_best.pt", "checkpoint99.pt", "checkpoint_9_99.pt"):
        with unchanged(folder):
            line = refused(average.main, folder, folder / name, "--last", 2)
        assert line == f"{folder / name} would be taken for a checkpoint that the run saved: choose another OUT"
    out = folder / "checkpoint_average.pt"
    for last in (2, 3):
        printed(average.main, folder, out, "--last", last)
        assert len(torch.load(out, weights_only=False)["extra_state"]["average_of"]) == last


def test_a_place_that_cannot_be_written_is_refused(folder):
    line = refused(average.main, folder, folder.parent / "nowhere/mean.pt", "--last", 2)
    assert "nowhere" in line
