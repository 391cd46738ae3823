"""The vision transformer trains on folders and on CIFAR-100, with R-Drop's loss, and what is wrong is named."""

import math
from argparse import Namespace
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from support.examples import load_example
from support.fixed_dropout import fix_dropout
from support.images import randomize, write_cifar100, write_folders, write_npz
from torch import Tensor, nn

import rdrop_fairseq
from rdrop_fairseq import RDrop, dropout, rdrop_loss

# 9 updates of 8 images, evaluated after 3, 6 and 9: a checkpoint each, and an epoch has 3 updates.
TINY = (
    *("--weights", "none", "--model", "test_vit", "--size", "32", "--workers", "0"),
    *("--updates", "9", "--warmup", "2", "--every", "3", "--batch", "8", "--part", "4", "--lr", "0.1"),
)


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load_example("vision_transformer")


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    return load_example("vision_setup")


@pytest.fixture(scope="module")
def options(setup: ModuleType) -> Callable[..., Namespace]:
    return lambda *words: setup.read_options(["--data", ".", *TINY, *words], None)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folders(tmp_path_factory.mktemp("folders"), train=9, val=3)


@pytest.fixture(scope="module")
def trained(example: ModuleType, folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of checkpoints of a whole run."""
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
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()[:2]] == [
        "alpha 0.6, update 6",
        "alpha 0.6, update 9",
    ]
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


def test_loss_and_gradient_are_those_of_the_reference(
    example: ModuleType, setup: ModuleType, options: Callable[..., Namespace]
) -> None:
    torch.manual_seed(1)
    model = fix_dropout(randomize(setup.build_model(options(), "none", 5)))
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


def test_dropout_is_that_of_the_paper(setup: ModuleType, options: Callable[..., Namespace]) -> None:
    model = setup.build_model(options(), "none", 5)
    rates = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.p}
    blocks = [f"blocks.{i}.{name}" for i in range(6) for name in ("attn.proj_drop", "mlp.drop1", "mlp.drop2")]
    assert rates == dict.fromkeys(["pos_drop", *blocks], 0.1)
    assert not model.head.weight.any() and not model.head.bias.any()


def test_each_epoch_has_each_image_once_in_an_order_of_its_own(
    setup: ModuleType, options: Callable[..., Namespace]
) -> None:
    args = options("--batch", "4", "--part", "3")
    parts = list(setup.parts_of_batches(10, 0, 4, args))
    assert [len(part) for part in parts] == [3, 1] * 4
    epochs = [[*chain(*parts[:4])], [*chain(*parts[4:])]]
    assert [len(set(epoch)) for epoch in epochs] == [8, 8]  # two images fill no batch
    assert epochs[0] != epochs[1]
    assert list(setup.parts_of_batches(10, 1, 4, args)) == parts[2:]


def test_reads_cifar_100(
    example: ModuleType,
    setup: ModuleType,
    options: Callable[..., Namespace],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = write_cifar100(tmp_path, 12, 5, monkeypatch)
    train, test = setup.load_data(options("--data", str(tmp_path)))
    assert (len(train), len(test), len(train.classes)) == (12, 5, 100)
    image, target = test[3]
    assert target == 3
    torch.testing.assert_close(image, torch.tensor(rows[3]).view(3, 32, 32) / 127.5 - 1)
    assert train[0][0].shape == (3, 32, 32)
    assert not torch.equal(train[0][0], train[0][0])  # crops are random
    example.main(["--data", str(tmp_path), *TINY, "--updates", "1", "--warmup", "0", "--out", str(tmp_path / "runs")])


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_names_a_file_of_cifar_100_that_is_not_there(
    setup: ModuleType,
    options: Callable[..., Namespace],
    change: Callable[[Path], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_cifar100(tmp_path, 12, 5, monkeypatch)
    change(tmp_path / "cifar-100-python/test")
    with pytest.raises(SystemExit, match=r"missing or changed: cifar-100-python/test$"):
        setup.load_data(options("--data", str(tmp_path)))


@pytest.mark.parametrize("ending", ["npz", "safetensors", "pth"])
def test_loads_published_weights_for_larger_images(
    setup: ModuleType, options: Callable[..., Namespace], ending: str, tmp_path: Path
) -> None:
    published = randomize(setup.timm.create_model("test_vit", img_size=32, num_classes=7))
    path = tmp_path / f"weights.{ending}"
    if ending == "npz":
        write_npz(path, published, heads=2)
    elif ending == "pth":
        torch.save(published.state_dict(), path)
    else:
        save_file(published.state_dict(), path)
    model = setup.build_model(options("--size", "64"), str(path), 5)
    ours, theirs = model.state_dict(), published.state_dict()
    assert ours["pos_embed"].shape == (1, 17, 64) and theirs["pos_embed"].shape == (1, 5, 64)
    torch.testing.assert_close(ours["pos_embed"][:, 0], theirs["pos_embed"][:, 0])
    for name in set(theirs) - {"pos_embed", "head.weight", "head.bias"}:
        torch.testing.assert_close(ours[name], theirs[name], msg=name)
    assert ours["head.weight"].shape == (5, 64) and not ours["head.weight"].any()


def test_weights_of_another_model_are_refused_in_one_line(
    setup: ModuleType, options: Callable[..., Namespace], tmp_path: Path
) -> None:
    narrow = setup.timm.create_model("test_vit", img_size=32, embed_dim=32)
    torch.save({"conv.weight": torch.ones(3)}, tmp_path / "other.pth")
    torch.save(narrow.state_dict(), tmp_path / "narrow.pth")
    write_npz(tmp_path / "narrow.npz", narrow, heads=2)
    np.savez(tmp_path / "other.npz", weight=np.ones(3))
    for name, message in (
        ("other.pth", "there is no cls_token"),
        ("narrow.pth", "size mismatch for cls_token"),
        ("narrow.npz", "must match the size"),
        ("other.npz", "did not find a supported JAX/Flax parameter layout"),
    ):
        with pytest.raises(
            SystemExit, match=f"--model test_vit cannot take --weights .*{name}: .*{message}"
        ) as refusal:
            setup.build_model(options(), str(tmp_path / name), 5)
        assert "\n" not in str(refusal.value)


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


def test_an_image_that_cannot_be_read_is_named(example: ModuleType, tmp_path: Path) -> None:
    folders = write_folders(tmp_path / "images", train=3, val=1)
    (folders / "val/red/0.png").write_text("no image")
    words = ["--data", str(folders), *TINY, "--updates", "1", "--warmup", "0", "--out", str(tmp_path / "runs")]
    with pytest.raises(SystemExit, match=r"^cannot identify image file .*val/red/0\.png"):
        example.main(words)
    (folders / "val/red").rename(folders / "val/yellow")
    with pytest.raises(SystemExit, match="must have folders of the same names"):
        example.main(words)


def test_dropout_of_whole_branches_is_registered_in_one_line(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = setup.timm.create_model("test_vit", img_size=32, num_classes=5, drop_path_rate=0.3)
    assert dropout.dropouts_of(model) == []
    monkeypatch.setattr(dropout, "_ATTRIBUTES", dict(dropout._ATTRIBUTES))
    rdrop_fairseq.register_dropout(setup.timm.layers.DropPath, "drop_prob")
    rates = [getattr(module, name) for module, name in dropout.dropouts_of(model)]
    assert rates == pytest.approx([0.06, 0.06, 0.12, 0.12, 0.18, 0.18, 0.24, 0.24, 0.3, 0.3])  # none in the first block
    first, second = RDrop(model, dropouts=(0.0, 0.5))(torch.randn(2, 3, 32, 32)).chunk(2)
    assert not torch.allclose(first, second)
