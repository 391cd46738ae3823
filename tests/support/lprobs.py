"""Log-probabilities, and value and gradient of a function of them."""

import pytest
import torch

from rdrop_fairseq.divergence import DIVERGENCES

every_kind = pytest.mark.parametrize("kind", DIVERGENCES)


def random_lprobs(*shape, seed=0, scale=2.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(*shape, generator=generator, dtype=torch.float64)).log_softmax(-1).to(dtype)


def value_and_grad(function, lprobs, *args):
    lprobs = lprobs.detach().clone().requires_grad_()
    value = function(lprobs, *args)
    value.backward(torch.linspace(1, 2, value.numel(), dtype=value.dtype).view(value.shape))
    return value.detach(), lprobs.grad
