"""R-Drop in a plain PyTorch loop: a vision transformer of timm, with random weights, on generated images.

    python examples/plain_loop.py

It runs on a GPU if there is one.
"""

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from rdrop_fairseq import RDrop, rdrop_loss

CLASSES = 4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def stripes(size: int, seed: int) -> TensorDataset:
    """Return noisy images ``[size, 3, 32, 32]`` of stripes, whose direction is the class."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(CLASSES, (size,), generator=generator)
    angle = (target * torch.pi / CLASSES).view(-1, 1, 1)
    row, column = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    shift = 6 * torch.rand(size, 1, 1, generator=generator)
    clean = torch.sin(row * angle.sin() + column * angle.cos() + shift)
    images = clean.unsqueeze(1) + 1.5 * torch.randn(size, 3, 32, 32, generator=generator)
    return TensorDataset(images, target)


def build_model() -> nn.Module:
    """Return a small vision transformer. R-Drop needs dropout; timm's models have none by default."""
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 4}
    dropout = {"drop_rate": 0.1, "proj_drop_rate": 0.1, "attn_drop_rate": 0.1}
    return timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=CLASSES, **size, **dropout)


def training_loss(passes: RDrop, images: Tensor, target: Tensor, alpha: float) -> tuple[Tensor, float]:
    """Return the loss of a batch to differentiate, and the KL divergence between the passes, for the log."""
    if not alpha:
        return F.cross_entropy(passes.model(images), target), 0.0
    # One forward of [x; x]: the batch on the device is twice as large. The target is that of one pass.
    outputs = passes(images)
    loss = rdrop_loss(outputs, target, alpha)
    return loss, rdrop_loss(outputs.detach(), None, 1.0).item()


@torch.no_grad()
def evaluate(model: nn.Module, data: TensorDataset) -> tuple[float, float]:
    """Return the plain cross-entropy and the accuracy: in evaluation R-Drop plays no part."""
    model.eval()
    images, target = (tensor.to(DEVICE) for tensor in data.tensors)
    outputs = model(images)
    accuracy = outputs.argmax(-1).eq(target).float().mean()
    return F.cross_entropy(outputs, target).item(), accuracy.item()


def train(alpha: float, epochs: int = 10) -> dict[str, float]:
    """Train with R-Drop, or without it if alpha is 0, and return what the table shows."""
    torch.manual_seed(1)
    model = build_model().to(DEVICE)
    passes = RDrop(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = DataLoader(stripes(256, seed=1), batch_size=32, shuffle=True)
    kl_loss = 0.0
    for epoch in range(epochs):
        model.train()
        divergences = []
        for batch in loader:
            images, target = (tensor.to(DEVICE) for tensor in batch)
            loss, kl = training_loss(passes, images, target, alpha)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            divergences.append(kl)
        kl_loss = sum(divergences) / len(divergences)
        print(f"alpha {alpha:g}, epoch {epoch + 1}: loss of the last batch {loss.item():.3f}, KL {kl_loss:.4f}")
    test_loss, accuracy = evaluate(model, stripes(512, seed=2))
    return {"loss": test_loss, "accuracy": accuracy, "kl_loss": kl_loss}


def main() -> None:
    """Train with each alpha, and print a table."""
    results = {alpha: train(alpha) for alpha in (0.0, 1.0)}
    print("\nalpha  test loss  test accuracy  KL in training")
    for alpha, result in results.items():
        print(f"{alpha:5g}  {result['loss']:9.3f}  {result['accuracy']:13.3f}  {result['kl_loss']:14.4f}")


if __name__ == "__main__":
    main()
