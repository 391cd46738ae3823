"""What vision_transformer.py starts from: its options, the images in their batches, and the pretrained model."""

import argparse
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import timm
import torch
from timm.models import load_checkpoint
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn
from torchvision.datasets import CIFAR100, ImageFolder, VisionDataset
from torchvision.datasets.utils import check_integrity
from torchvision.transforms import Compose, Normalize, RandomResizedCrop, Resize, ToTensor

# Option, kind, least value, default and help.
NUMBERS = (
    ("size", int, 1, 384, "height and width of the images, in pixels"),
    ("updates", int, 1, 10_000, "length of the training"),
    ("batch", int, 1, 512, "images of an update"),
    ("part", int, 1, 32, "images of a batch that are on the device at once"),
    ("lr", float, 0, 0.01, "highest learning rate"),
    ("warmup", int, 0, 500, "updates in which the learning rate rises"),
    ("every", int, 1, 100, "updates between evaluations"),
    ("workers", int, 0, 8, "processes that read images"),
    ("seed", int, 0, 1, "of the order, the crops and the dropout"),
)


def read_options(words: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """Return the options of a command line, or of this program's own if that is None; refuse what cannot be."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, usage=argparse.SUPPRESS, formatter_class=raw)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with cifar-100-python, or with the folders train and val")
    add("--download", action="store_true", help="download CIFAR-100 into --data")
    add("--weights", required=True, help="file of pretrained weights, .npz or timm's; or 'download', or 'none'")
    add("--model", default="vit_base_patch16_224.orig_in21k", help="its name in timm (default: %(default)s)")
    add("--out", type=Path, default="runs/vision_transformer", help="folder of checkpoints (default: %(default)s)")
    add("--alpha", type=float, nargs="+", default=[0, 0.6], help="a training for each (default: 0 0.6)")
    for name, kind, _, default, text in NUMBERS:
        add(f"--{name}", type=kind, default=default, help=f"{text} (default: {default})")
    args = parser.parse_args(words)
    for name, least in {"alpha": 0, **{name: least for name, _, least, *_ in NUMBERS}}.items():
        values = args.alpha if name == "alpha" else [getattr(args, name)]
        if wrong := [value for value in values if not least <= value < math.inf]:
            parser.error(f"argument --{name}: {wrong[0]} must be a number >= {least}")
    if args.warmup >= args.updates:
        parser.error(f"argument --warmup: {args.warmup} must be less than the {args.updates} updates")
    if not args.data.is_dir():
        parser.error(f"argument --data: {args.data} is no folder")
    return args


def load_data(args: argparse.Namespace) -> tuple[VisionDataset, VisionDataset]:
    """Return the images to train on, of which random parts are taken, and those of the test."""
    folder, size = args.data, args.size
    crop, whole = RandomResizedCrop(size, scale=(0.05, 1)), Resize((size, size))
    crops, wholes = (Compose([resize, ToTensor(), Normalize([0.5] * 3, [0.5] * 3)]) for resize in (crop, whole))
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        train, test = ImageFolder(folder / "train", crops), ImageFolder(folder / "val", wholes)
        if train.classes != test.classes:
            sys.exit(f"--data {folder}: train and val must have folders of the same names, one for each class")
    else:
        if args.download:
            CIFAR100(folder, download=True)
        files = [*CIFAR100.train_list, *CIFAR100.test_list, [CIFAR100.meta["filename"], CIFAR100.meta["md5"]]]
        files = [(f"{CIFAR100.base_folder}/{name}", md5) for name, md5 in files]
        if wrong := [name for name, md5 in files if not check_integrity(folder / name, md5)]:
            sys.exit(f"--data {folder}: neither train and val nor CIFAR-100; missing or changed: {', '.join(wrong)}")
        train, test = CIFAR100(folder, True, crops), CIFAR100(folder, False, wholes)
    if len(train) < args.batch:
        sys.exit(f"--batch {args.batch}: there are only {len(train)} images to train on")
    return train, test


def build_model(args: argparse.Namespace, weights: str, classes: int) -> nn.Module:
    """Return a transformer with dropout of 0.1 behind each dense layer and the positions, and with a head of zeros."""
    name, size = args.model, args.size
    if name.split(".")[0] not in timm.list_models(module="vision_transformer"):
        sys.exit(f"--model {name}: not among the vision transformers of timm, such as vit_large_patch16_224.orig_in21k")

    def body(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        state = checkpoint_filter_fn(state, model)  # fits the embeddings of the positions to the size of the images
        return {key: value for key, value in state.items() if not key.startswith("head.")}

    options = {"num_classes": classes, "img_size": size, "pos_drop_rate": 0.1, "proj_drop_rate": 0.1}
    is_file = weights not in ("download", "none")
    if is_file and not Path(weights).is_file():
        sys.exit(f"--weights {weights}: no such file")
    try:
        model = timm.create_model(name, pretrained=weights == "download", **options)
        loaded = load_checkpoint(model, weights, strict=False, filter_fn=body) if is_file else None
        if loaded and (missing := [key for key in loaded.missing_keys if not key.startswith("head.")]):
            raise ValueError(f"there is no {missing[0]}")
    except Exception as error:  # of many kinds: of files, of formats, of shapes, of the network
        sys.exit(f"--model {name} cannot take --weights {weights}: {' '.join(str(error).split())}")
    if size % model.patch_embed.patch_size[0]:
        sys.exit(f"--size {size}: must be a multiple of {model.patch_embed.patch_size[0]} for {name}")
    # A head of zeros and a slow warm-up make the outputs of the first batches nearly equal, with dropout too.
    warnings.filterwarnings("ignore", "R-Drop has no effect: in the first")
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    return model


def parts_of_batches(images: int, start: int, end: int, args: argparse.Namespace) -> Iterator[list[int]]:
    """Yield which images the updates from start to end get, in parts. Each epoch is shuffled and has whole batches."""
    for update in range(start, end):
        epoch, place = divmod(update, images // args.batch)
        if place == 0 or update == start:
            order = torch.randperm(images, generator=torch.Generator().manual_seed(args.seed + epoch))
        for part in order[place * args.batch : (place + 1) * args.batch].split(args.part):
            yield part.tolist()
