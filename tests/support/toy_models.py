"""Models of a few layers without fairseq's tasks: one that counts its forwards, one with LayerDrop."""

import torch
from fairseq.modules import LayerDropModuleList
from torch import nn


class Toy(nn.Module):
    """Counts its forwards; any modules in between, then logits and what a decoder returns beside them."""

    def __init__(self, *modules, tuple_output=True):
        super().__init__()
        self.layers = nn.ModuleList(modules)
        self.batch_sizes = []
        self.tuple_output = tuple_output

    def forward(self, x):
        self.batch_sizes.append(len(x))
        for layer in self.layers:
            x = layer(x)
            x = x[0] if isinstance(x, tuple) else x
        return (x, {"call": len(self.batch_sizes)}, None) if self.tuple_output else x


class LayerDropStack(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.layers = LayerDropModuleList(p, [nn.Linear(4, 4) for _ in range(4)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


BATCH = {"net_input": {"x": torch.arange(12.0).view(3, 4)}, "target": torch.zeros(3)}
