"""fairseq-train with R-Drop on a made-up corpus: checkpoints, resuming, generation."""

import os
from pathlib import Path

import pytest
import torch
from support.command_line import (
    DROPOUT,
    INTERACTIVE,
    RDROP,
    SCHEDULE,
    USER_DIR,
    Result,
    generate,
    parameters,
    run,
    train,
)

# Checkpoints


def test_resume_goes_on_as_if_never_stopped(data, run_folder, tmp_path):
    whole = Result(0, (run_folder / "log").read_text(), "")
    first = train(data, *RDROP, *SCHEDULE, "--max-update", "3", save_dir=tmp_path)
    second = train(data, *RDROP, *SCHEDULE, "--max-update", "6", save_dir=tmp_path)
    assert "Loaded checkpoint" in second.stdout
    assert len(first.updates) == len(second.updates) == 3
    assert whole.column("rdrop_alpha") == [0, 1.25, 0, 3.75, 0, 5]
    assert first.updates + second.updates == whole.updates
    assert second.valid["valid_loss"] == whole.valid["valid_loss"]
    resumed = parameters(tmp_path)
    assert all(torch.equal(parameter, resumed[name]) for name, parameter in parameters(run_folder).items())


@pytest.mark.parametrize(
    "option", [(), ("--update-epoch-batch-itr", "True")], ids=["one order", "a new one in every epoch"]
)
def test_resume_in_a_later_epoch_with_a_seed_that_grows(data, trained, tmp_path, option):
    flags = (*RDROP, *DROPOUT, "--update-ordered-indices-seed", *option)
    whole = trained(*flags, "--max-update", "12")
    first, second = (train(data, *flags, "--max-update", count, save_dir=tmp_path) for count in ("7", "12"))
    assert [update["epoch"] for update in second.updates] == [2, 2, 2, 3, 3]
    assert first.updates + second.updates == whole.updates


def test_a_checkpoint_holds_the_model_once(run_folder):
    assert torch.load(run_folder / "checkpoint_last.pt", weights_only=True)["criterion"] is None


def test_generate(data, run_folder):
    result = generate(data, run_folder / "checkpoint_best.pt")
    assert sum(line.startswith("H-") for line in result.stdout.splitlines()) == 8
    assert "Generate test with beam=2: BLEU4" in result.stdout


def test_interactive(data, run_folder, tmp_path):
    (tmp_path / "input").write_text("de1 de2 de3\nde4 de5\n")
    argv = (data, "--path", run_folder / "checkpoint_best.pt", "--user-dir", USER_DIR, "--cpu", "--max-len-b", "10")
    result = run(INTERACTIVE, *argv, "--input", tmp_path / "input")
    assert [line.split("\t")[0] for line in result.stdout.splitlines() if line.startswith("H-")] == ["H-0", "H-1"]


class _Malicious:
    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self):
        return os.mkdir, (str(self.touched),)


def test_a_checkpoint_that_holds_code_is_refused(data, run_folder, tmp_path):
    checkpoint = torch.load(run_folder / "checkpoint_best.pt", weights_only=True)
    torch.save({**checkpoint, "surprise": _Malicious(tmp_path / "touched")}, tmp_path / "checkpoint_last.pt")
    for result in (
        generate(data, tmp_path / "checkpoint_last.pt", succeeds=False),
        train(data, *RDROP, *SCHEDULE, save_dir=tmp_path, succeeds=False),
    ):
        assert result.status != 0
        assert "Weights only load failed" in result.stderr
        assert "mkdir" in result.stderr
        assert not (tmp_path / "touched").exists()
