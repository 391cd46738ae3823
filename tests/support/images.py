"""Generated images, in the two forms that examples/vision_transformer.py reads, and weights in the form of Google's."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

# Options of a small training: 9 updates of 8 images, with an evaluation and a checkpoint after 3, 6 and 9.
TINY = (
    *("--weights", "none", "--model", "test_vit", "--size", "32", "--workers", "0"),
    *("--updates", "9", "--warmup", "2", "--every", "3", "--batch", "8", "--part", "4", "--lr", "0.1"),
)
COLOURS = ("blue", "green", "red")


def write_folders(root: Path, train: int, val: int) -> Path:
    """Write noisy images of one colour each to root/train/COLOUR and root/val/COLOUR: `train` and `val` of a colour."""
    rng = np.random.default_rng(1)
    for split, size in (("train", train), ("val", val)):
        for name, channel in zip(COLOURS, (2, 1, 0), strict=True):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(size):
                pixels = rng.integers(0, 200, (32, 32, 3), np.uint8)
                pixels[:, :, channel] += 55
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


def write_cifar100(root: Path, train: int, test: int, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Write files in the form of CIFAR-100, which torchvision takes for the published ones; return the test's rows."""
    from torchvision.datasets import CIFAR100

    rng = np.random.default_rng(1)
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    sums = {}
    rows = {
        name: rng.integers(0, 256, (size, 3 * 32 * 32), np.uint8) for name, size in (("train", train), ("test", test))
    }
    contents: dict[str, dict] = {
        name: {"data": data, "fine_labels": [i % 100 for i in range(len(data))]} for name, data in rows.items()
    }
    contents["meta"] = {"fine_label_names": [f"class {i}" for i in range(100)]}
    for name, content in contents.items():
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        sums[name] = hashlib.md5(data).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": sums["meta"]})
    return rows["test"]


def write_npz(path: Path, model: nn.Module, heads: int) -> None:
    """Write a vision transformer of timm in the form of the weights from Google, with their head of 21,843 classes."""
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    width = state["cls_token"].shape[-1]
    arrays = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": np.zeros((width, 21_843), np.float32),
        "head/bias": np.zeros(21_843, np.float32),
    }
    for i in range(len(model.blocks)):
        ours, theirs = f"blocks.{i}", f"Transformer/encoderblock_{i}"
        for norm, name in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
            arrays[f"{theirs}/{name}/scale"] = state[f"{ours}.{norm}.weight"]
            arrays[f"{theirs}/{name}/bias"] = state[f"{ours}.{norm}.bias"]
        attention = f"{theirs}/MultiHeadDotProductAttention_1"
        weights = np.split(state[f"{ours}.attn.qkv.weight"], 3)
        biases = np.split(state[f"{ours}.attn.qkv.bias"], 3)
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            arrays[f"{attention}/{name}/kernel"] = weight.T.reshape(width, heads, -1)
            arrays[f"{attention}/{name}/bias"] = bias.reshape(heads, -1)
        arrays[f"{attention}/out/kernel"] = state[f"{ours}.attn.proj.weight"].T.reshape(heads, -1, width)
        arrays[f"{attention}/out/bias"] = state[f"{ours}.attn.proj.bias"]
        for layer in (0, 1):
            arrays[f"{theirs}/MlpBlock_3/Dense_{layer}/kernel"] = state[f"{ours}.mlp.fc{layer + 1}.weight"].T
            arrays[f"{theirs}/MlpBlock_3/Dense_{layer}/bias"] = state[f"{ours}.mlp.fc{layer + 1}.bias"]
    np.savez(path, **arrays)


def randomize(model: nn.Module) -> nn.Module:
    """Give each weight a value of its own, so that one in a wrong place shows."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model
