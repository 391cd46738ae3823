"""R-Drop in several processes, by accelerate: a small classifier, with gradient accumulation, on the CPU.

    ACCELERATE_USE_CPU=1 torchrun --nproc_per_node 2 examples/several_processes.py

Any number of processes makes the same updates from the same data: the batch is divided among them.
"""

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from rdrop_fairseq import RDrop, rdrop_loss

FEATURES, CLASSES = 20, 4
BATCH, ACCUMULATE = 32, 2  # samples of all processes in a batch; batches in an update


def points(size: int, seed: int) -> TensorDataset:
    """Return points ``[size, FEATURES]`` around a centre for each class."""
    centres = torch.randn(CLASSES, FEATURES, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(CLASSES, (size,), generator=generator)
    return TensorDataset(centres[target] + 2 * torch.randn(size, FEATURES, generator=generator), target)


def build_model() -> nn.Module:
    """Return a network with one hidden layer and dropout."""
    return nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, CLASSES))


def train(alpha: float, epochs: int = 6) -> tuple[nn.Module, dict[str, float]]:
    """Train with R-Drop, or without it if alpha is 0; return the model and what the table shows."""
    # With split_batches a process gets its part of each batch, so the batch does not grow with the processes.
    accelerator = Accelerator(
        gradient_accumulation_steps=ACCUMULATE, dataloader_config=DataLoaderConfiguration(split_batches=True)
    )
    set_seed(1)  # every process starts from the same weights,
    model = build_model()
    set_seed(1, device_specific=True)  # and has dropout of its own
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    order = torch.Generator().manual_seed(1)
    loader = DataLoader(points(256, seed=1), batch_size=BATCH, shuffle=True, generator=order)
    test_loader = DataLoader(points(512, seed=2), batch_size=128)
    model, optimizer, loader, test_loader = accelerator.prepare(model, optimizer, loader, test_loader)

    passes = RDrop(model)  # around the wrapper: one forward through DistributedDataParallel for each batch
    kl_loss = torch.zeros((), device=accelerator.device)
    for _ in range(epochs):
        model.train()
        divergences = []
        for x, target in loader:
            with accelerator.accumulate(model):
                if alpha:
                    outputs = passes(x)
                    loss = rdrop_loss(outputs, target, alpha)
                    divergences.append(rdrop_loss(outputs.detach(), None, 1.0))
                else:
                    loss = F.cross_entropy(model(x), target)
                accelerator.backward(loss)  # divides by the batches in an update
                optimizer.step()
                optimizer.zero_grad()
        if divergences:
            kl_loss = accelerator.reduce(torch.stack(divergences).mean(), "mean")
            accelerator.print(f"alpha {alpha:g}: KL {kl_loss:.4f}")

    model.eval()
    with torch.no_grad():
        pairs = [accelerator.gather_for_metrics((model(x), target)) for x, target in test_loader]
    outputs, target = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return accelerator.unwrap_model(model), {
        "loss": F.cross_entropy(outputs, target).item(),
        "accuracy": outputs.argmax(-1).eq(target).float().mean().item(),
        "kl_loss": kl_loss.item(),
    }


def main() -> None:
    """Train with each alpha, and print a table."""
    results = {alpha: train(alpha)[1] for alpha in (0.0, 1.0)}
    accelerator = Accelerator()
    accelerator.print(f"\n{accelerator.num_processes} processes")
    accelerator.print("alpha  test loss  test accuracy  KL in training")
    for alpha, result in results.items():
        loss, accuracy, kl_loss = result["loss"], result["accuracy"], result["kl_loss"]
        accelerator.print(f"{alpha:5g}  {loss:9.3f}  {accuracy:13.3f}  {kl_loss:14.4f}")
    accelerator.end_training()


if __name__ == "__main__":
    main()
