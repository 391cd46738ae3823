"""R-Drop on a pretrained vision transformer of timm, at the settings of the paper's table 6: CIFAR-100 or ImageNet.

    python examples/vision_transformer.py --data DIR --weights ViT-B_16.npz

It trains without R-Drop (alpha 0) and then with it (alpha 0.6), and ends with a table of both. Started again, it goes
on from its last evaluation. docs/vision.md says where the images and the weights come from, and explains the settings.
"""

import argparse
import math
import os
import sys
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import VisionDataset
from vision_setup import build_model, load_data, parts_of_batches, read_options

from rdrop_fairseq import RDrop, rdrop_loss

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HALF = torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda")
SAME = "data", "model", "weights", "size", "batch", "updates", "warmup", "lr"  # the settings with which a run can go on


def training_loss(passes: RDrop, images: Tensor, target: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Return the mean loss of images, and the KL divergence between the passes, for the log."""
    with HALF:
        outputs = passes(images) if alpha else passes.model(images)
    if not alpha:
        return F.cross_entropy(outputs.float(), target), torch.zeros((), device=DEVICE)
    return rdrop_loss(outputs, target, alpha), rdrop_loss(outputs.detach(), None, 1.0)


@torch.no_grad()
def evaluate(model: nn.Module, data: VisionDataset, args: argparse.Namespace) -> tuple[float, float]:
    """Return the cross-entropy and the accuracy: in evaluation R-Drop plays no part."""
    model.eval()
    sums = torch.zeros(2, device=DEVICE)
    for batch in DataLoader(data, args.part, num_workers=args.workers):
        images, target = (tensor.to(DEVICE) for tensor in batch)
        with HALF:
            outputs = model(images).float()
        loss, right = F.cross_entropy(outputs, target, reduction="sum"), outputs.argmax(-1).eq(target).sum()
        sums += torch.stack([loss, right])
    return tuple((sums / len(data)).tolist())


def train(alpha: float, data: tuple[VisionDataset, VisionDataset], args: argparse.Namespace) -> dict[str, float]:
    """Train with R-Drop, or without it if alpha is 0, and return what the table shows."""
    file = args.out / f"alpha{alpha:g}_seed{args.seed}.pt"
    settings = {name: str(getattr(args, name)) for name in SAME}
    fresh: dict = {"settings": settings, "updates": 0, "scores": {}}
    saved = torch.load(file, DEVICE, weights_only=True) if file.exists() else fresh
    if other := [name for name in SAME if saved["settings"][name] != settings[name]]:
        sys.exit(f"{file} was made with --{other[0]} {saved['settings'][other[0]]}: give that, or another --out")
    torch.manual_seed(args.seed)
    model = build_model(args, "none" if "model" in saved else args.weights, len(data[0].classes)).to(DEVICE)
    passes = RDrop(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    fall = args.updates - args.warmup
    rates = CosineLRScheduler(optimizer, fall, warmup_t=args.warmup, warmup_prefix=True, t_in_epochs=False)
    if "model" in saved:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    scores = saved["scores"]
    for start in range(saved["updates"], args.updates, args.every):
        torch.manual_seed(args.seed + start)  # so a run that goes on equals one that was not interrupted
        end = min(start + args.every, args.updates)
        model.train()
        seen, sums = 0, torch.zeros(2, device=DEVICE)
        parts = parts_of_batches(len(data[0]), start, end, args)
        for part in DataLoader(data[0], batch_sampler=parts, num_workers=args.workers, pin_memory=DEVICE == "cuda"):
            images, target = (tensor.to(DEVICE, non_blocking=True) for tensor in part)
            loss, kl = training_loss(passes, images, target, alpha)
            share = len(target) / args.batch
            (loss * share).backward()  # the gradients of the parts add up to that of the batch
            sums += torch.stack([loss.detach(), kl]) * share
            seen += len(target)
            if seen % args.batch == 0:
                rates.step_update(start + seen // args.batch)
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
        mean, kl_loss = (sums / (end - start)).tolist()
        if not math.isfinite(mean):
            sys.exit(f"alpha {alpha:g}: a loss before update {end} is no number; a lower --lr may help")
        test_loss, accuracy = evaluate(model, data[1], args)
        print(f"alpha {alpha:g}, update {end}: loss {mean:.4f}, KL {kl_loss:.4f}, accuracy {accuracy:.4f}", flush=True)
        scores |= {"loss": test_loss, "accuracy": accuracy, "kl_loss": kl_loss}
        scores["highest"] = max(accuracy, scores.get("highest", 0.0))
        saved = {"settings": settings, "updates": end, "scores": scores}
        torch.save({**saved, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, f"{file}.part")
        os.replace(f"{file}.part", file)
    return scores


def main(words: Sequence[str] | None = None) -> None:
    """Train with each alpha, and print a table."""
    args = read_options(words, __doc__)
    try:
        data = load_data(args)
        args.out.mkdir(parents=True, exist_ok=True)
        results = {alpha: train(alpha, data, args) for alpha in args.alpha}
    except torch.OutOfMemoryError:
        sys.exit(f"the GPU's memory does not hold parts of {args.part} images: choose a smaller --part")
    except OSError as error:  # such as an image that cannot be read; that of a process of the loader has many lines
        sys.exit((str(error) or repr(error)).splitlines()[-1])
    print("\nalpha  test loss  test accuracy  highest  KL in training")
    for alpha, got in results.items():
        print(f"{alpha:5g}  {got['loss']:9.4f}  {got['accuracy']:13.4f}  {got['highest']:7.4f}  {got['kl_loss']:14.4f}")


if __name__ == "__main__":
    main()
