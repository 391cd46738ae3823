"""Dropout without chance: each pass leaves out features of its own, so two runs can be compared."""

import torch
from torch import Tensor, nn


class FixedDropout(nn.Module):
    """Leaves out every third feature, from the first one in the first half of the batch, else from the second one.

    It is for batches ``[x; x]``. A mask depends on the pass alone, so the parts of a batch get the masks of the whole.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        masks = [torch.arange(x.size(-1)).remainder(3).ne(i).to(x.dtype) * 1.5 for i in range(2)]
        return torch.cat([half * mask for half, mask in zip(x.chunk(2), masks, strict=True)])


def fix_dropout(model: nn.Module) -> nn.Module:
    """Put ``FixedDropout`` in place of a model's dropout, but for that of attention weights, which is switched off."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if (
                isinstance(child, nn.Dropout)
                and "attention" in type(module).__name__.lower()
                and name != "resid_dropout"
            ):
                child.p = 0.0
            elif isinstance(child, nn.Dropout):
                setattr(module, name, FixedDropout())
    return model
