"""The vision transformer trains on folders and on CIFAR-100, with R-Drop's loss, and what is wrong is named."""

import math
from pathlib import Path
from types import ModuleType

import pytest
import reference
import torch
import torch.nn.functional as F
from support.examples import load_example
from support.fixed_dropout import fix_dropout
from support.images import TINY, randomize, write_cifar100, write_folders
from torch import Tensor

from rdrop_fairseq import RDrop, rdrop_loss


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load_example("vision_transformer")


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    return load_example("vision_setup")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folders(tmp_path_factory.mktemp("folders"), train=9, val=3)


@pytest.fixture(scope="module")
def trained(example: ModuleType, folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of checkpoints of a whole run."""
    out = tmp_path_factory.mktemp("trained")
    example.main(["--data", str(folders), *TINY, "--out", str(out)])
    return out


def test_ends_with_a_table_of_baseline_and_rdrop(
    example: ModuleType, folders: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example.main(["--data", str(folders), *TINY, "--out", str(trained)])  # all is done: it shows the table alone
    _, head, *lines = capsys.readouterr().out.splitlines()
    assert head.split("  ") == ["alpha", "test loss", "test accuracy", "highest", "KL in training"]
    without, with_rdrop = ([float(word) for word in line.split()] for line in lines)
    assert (without[0], without[4], with_rdrop[0]) == (0, 0, 0.6)
    assert with_rdrop[4] > 0
    for _, loss, accuracy, highest, _ in (without, with_rdrop):
        assert loss < math.log(3)  # of a model that has learned nothing
        assert 1 / 3 < accuracy <= highest <= 1


def test_trains_on_cifar_100(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From files in the published form: random pixels, of eight of the 100 classes."""
    write_cifar100(tmp_path / "data", 8, 8, monkeypatch)
    example.main(["--data", str(tmp_path / "data"), *TINY, "--alpha", "0.6", "--out", str(tmp_path / "runs")])
    alpha, loss, accuracy, highest, kl_loss = map(float, capsys.readouterr().out.splitlines()[-1].split())
    assert alpha == 0.6 and kl_loss > 0
    assert loss < math.log(100)  # of a model that has learned nothing
    assert accuracy <= highest and 8 * accuracy in range(9)
    saved = torch.load(tmp_path / "runs/alpha0.6_seed1.pt")
    assert (saved["updates"], len(saved["model"]["head.weight"])) == (9, 100)


def test_a_run_that_was_ended_goes_on_as_if_it_was_not(
    example: ModuleType,
    folders: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--data", str(folders), *TINY, "--alpha", "0.6", "--out", str(tmp_path)]

    def save_a_part(content: dict, path: str) -> None:
        Path(path).write_bytes(b"half of it")
        raise KeyboardInterrupt

    save = torch.save
    monkeypatch.setattr(torch, "save", lambda *given: save(*given) if given[0]["updates"] < 6 else save_a_part(*given))
    with pytest.raises(KeyboardInterrupt):
        example.main(words)
    monkeypatch.undo()
    capsys.readouterr()
    example.main(words)
    shown = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert shown[:2] == ["alpha 0.6, update 6", "alpha 0.6, update 9"]
    ours, whole = (torch.load(folder / "alpha0.6_seed1.pt") for folder in (tmp_path, trained))
    assert ours["scores"] == whole["scores"]
    assert all(torch.equal(ours["model"][name], value) for name, value in whole["model"].items())


def test_a_batch_in_parts_trains_as_the_whole(
    example: ModuleType, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_model = example.build_model
    monkeypatch.setattr(example, "build_model", lambda *given: fix_dropout(build_model(*given)))
    states = []
    for part in ("8", "3"):
        words = [*TINY, "--alpha", "0.6", "--part", part, "--updates", "3"]
        example.main(["--data", str(folders), *words, "--out", str(tmp_path / part)])
        states.append(torch.load(tmp_path / part / "alpha0.6_seed1.pt"))
    whole, parts = states
    assert parts["scores"] == pytest.approx(whole["scores"], rel=1e-4)
    for name, value in whole["model"].items():
        torch.testing.assert_close(parts["model"][name], value, rtol=1e-3, atol=1e-5)


def test_loss_is_that_of_the_reference(example: ModuleType, setup: ModuleType) -> None:
    torch.manual_seed(1)
    model = fix_dropout(randomize(setup.build_model(setup.read_options(["--data", ".", *TINY], None), "none", 5)))
    images, target = torch.randn(4, 3, 32, 32), torch.tensor([0, 3, 4, 3])
    loss, kl_loss = example.training_loss(RDrop(model), images, target, 0.6)
    logits = model(torch.cat([images, images])).detach().double().unflatten(0, (2, 4))
    expected, without = (reference.rdrop(logits, target, alpha, padding_idx=-100).loss / 4 for alpha in (0.6, 0.0))
    torch.testing.assert_close(loss, expected.float())
    torch.testing.assert_close(kl_loss, ((expected - without) / 0.6).float())
    loss, kl_loss = example.training_loss(RDrop(model.eval()), images, target, 0.0)
    torch.testing.assert_close(loss, F.cross_entropy(model(images), target))
    assert kl_loss == 0


def loss_of_the_release(first: Tensor, second: Tensor, target: Tensor, alpha: float) -> Tensor:
    """Return the loss of the authors' vision code: a mean cross-entropy, and divergences that are summed."""
    p, q = first.log_softmax(-1), second.log_softmax(-1)
    kl_loss, reverse_kl_loss = (q.exp() * (q - p)).sum(), (p.exp() * (p - q)).sum()
    return F.cross_entropy(first, target) + F.cross_entropy(second, target) + alpha * (kl_loss + reverse_kl_loss)


@pytest.mark.parametrize("images", [1, 32])
def test_alpha_of_the_paper_and_of_the_release(images: int) -> None:
    torch.manual_seed(1)
    outputs, target = torch.randn(2 * images, 10, requires_grad=True), torch.randint(10, (images,))
    loss = rdrop_loss(outputs, target, 0.6 * images)
    released = loss_of_the_release(*outputs.chunk(2), target, 0.3)
    torch.testing.assert_close(loss, released)
    torch.testing.assert_close(*(torch.autograd.grad(one, outputs)[0] for one in (loss, released)))


def test_learning_rate_rises_and_falls_as_a_cosine(
    example: ModuleType, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []
    step = torch.optim.SGD.step

    def note(optimizer: torch.optim.SGD) -> None:
        rates.append(optimizer.param_groups[0]["lr"])
        norm = sum(p.grad.square().sum() for group in optimizer.param_groups for p in group["params"]).sqrt()
        assert norm < 1.0001
        step(optimizer)

    monkeypatch.setattr(torch.optim.SGD, "step", note)
    words = [*TINY, "--alpha", "0.6", "--updates", "6", "--every", "4", "--out", str(tmp_path)]
    example.main(["--data", str(folders), *words])
    assert rates == pytest.approx([0.05, 0.1, *(0.05 * (1 + math.cos(math.pi * i / 4)) for i in (1, 2, 3, 4))])


REFUSED = {
    "--data": ("nowhere", "--data: nowhere is no folder"),
    "--weights": ("ViT-B_16.npz", "--weights ViT-B_16.npz: no such file"),
    "--model": ("vit_bse_patch16_224", "--model vit_bse_patch16_224: not among the vision transformers of timm"),
    "--alpha": ("-1", "--alpha: -1.0 must be a number >= 0"),
    "--batch": ("28", "--batch 28: there are only 27 images to train on"),
    "--part": ("0", "--part: 0 must be a number >= 1"),
    "--lr": ("nan", "--lr: nan must be a number >= 0"),
    "--every": ("2.5", "--every: invalid int value: '2.5'"),
    "--warmup": ("9", "--warmup: 9 must be less than the 9 updates"),
    "--size": ("33", "--size 33: must be a multiple of 16"),
}


@pytest.mark.parametrize("option", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(
    example: ModuleType, option: str, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value, message = REFUSED[option]
    with pytest.raises(SystemExit) as refusal:
        example.main(["--data", str(folders), *TINY, "--out", str(tmp_path / "runs"), option, value])
    line = capsys.readouterr().err or f"{refusal.value.code}\n"
    assert message in line and line.count("\n") == 1
    assert not list(tmp_path.glob("runs/*"))


def test_a_run_with_other_settings_is_kept(example: ModuleType, folders: Path, trained: Path) -> None:
    with pytest.raises(SystemExit, match=r"alpha0_seed1.pt was made with --batch 8: give that, or another --out"):
        example.main(["--data", str(folders), *TINY, "--batch", "6", "--out", str(trained)])
    with pytest.raises(SystemExit, match=f"alpha0_seed1.pt was made with --data {folders}: give that"):
        example.main(["--data", f"{folders}/train/..", *TINY, "--out", str(trained)])


def test_an_image_that_cannot_be_read_is_named(example: ModuleType, tmp_path: Path) -> None:
    folders = write_folders(tmp_path / "images", train=3, val=1)
    (folders / "val/red/0.png").write_text("no image")
    words = ["--data", str(folders), *TINY, "--updates", "1", "--warmup", "0", "--out", str(tmp_path / "runs")]
    with pytest.raises(SystemExit, match=r"^cannot identify image file .*val/red/0\.png"):
        example.main(words)
    (folders / "val/red").rename(folders / "val/yellow")
    with pytest.raises(SystemExit, match="must have folders of the same names"):
        example.main(words)


def test_a_loss_that_is_no_number_ends_the_run_and_is_not_saved(
    example: ModuleType, folders: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=r"^alpha 0: a loss before update 3 is no number; a lower --lr may help$"):
        example.main(["--data", str(folders), *TINY, "--lr", "1e38", "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())
