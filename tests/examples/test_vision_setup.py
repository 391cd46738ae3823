"""What the vision transformer starts from: its dropout, pretrained weights, CIFAR-100, the order of the images."""

from argparse import Namespace
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.examples import load_example
from support.images import TINY, randomize, write_cifar100, write_npz
from torch import nn

import rdrop_fairseq
from rdrop_fairseq import RDrop, dropout


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    return load_example("vision_setup")


@pytest.fixture(autouse=True)
def _keep_safe_globals() -> Iterator[None]:
    """Let checkpoints of fairseq load after these tests: timm takes Namespace off torch's list when it has loaded."""
    listed = torch.serialization.get_safe_globals()
    yield
    torch.serialization.add_safe_globals(listed)


@pytest.fixture(scope="module")
def options(setup: ModuleType) -> Callable[..., Namespace]:
    return lambda *words: setup.read_options(["--data", ".", *TINY, *words], None)


def test_dropout_is_that_of_the_paper(setup: ModuleType, options: Callable[..., Namespace]) -> None:
    model = setup.build_model(options(), "none", 5)
    rates = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.p}
    blocks = [f"blocks.{i}.{name}" for i in range(6) for name in ("attn.proj_drop", "mlp.drop1", "mlp.drop2")]
    assert rates == dict.fromkeys(["pos_drop", *blocks], 0.1)
    assert not model.head.weight.any() and not model.head.bias.any()


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


def test_reads_cifar_100(
    setup: ModuleType, options: Callable[..., Namespace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write_cifar100(tmp_path, 12, 5, monkeypatch)
    train, test = setup.load_data(options("--data", str(tmp_path)))
    assert (len(train), len(test), len(train.classes)) == (12, 5, 100)
    image, target = test[3]
    assert target == 3
    torch.testing.assert_close(image, torch.tensor(rows[3]).view(3, 32, 32) / 127.5 - 1)
    assert train[0][0].shape == (3, 32, 32)
    assert not torch.equal(train[0][0], train[0][0])  # crops are random


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
