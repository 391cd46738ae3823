"""An adaptive softmax over a dozen words, features for it, and the ways to compute its loss."""

import torch
from fairseq.modules.adaptive_softmax import AdaptiveSoftmax
from support.helpers import (
    PAD,
)
from torch import nn

NAME, LM = "rdrop_adaptive_loss", "transformer_lm_big"
WAYS = {
    "fused": {"rdrop_loss": "fused"},
    "plain": {"rdrop_loss": "plain"},
    "exact": {"rdrop_adaptive_divergence": "exact"},
}


class Features(nn.Module):
    """A model whose features ``[M, N, D]`` are a parameter, and its adaptive softmax."""

    def __init__(self, features, softmax):
        super().__init__()
        self.features = nn.Parameter(features)
        self.decoder = nn.Module()
        self.decoder.adaptive_softmax = softmax

    def forward(self, src_tokens):
        assert len(src_tokens) == len(self.features)
        return self.features, None

    def get_targets(self, sample, net_output):
        return sample["target"]


def batch_for(target):
    """One row of words."""
    target = torch.tensor([target])
    return {"net_input": {"src_tokens": target}, "target": target, "ntokens": int(target.ne(PAD).sum())}


def random_model(tokens, passes=2, dropout=0.0, seed=0, vocab=12, width=8):
    torch.manual_seed(seed)
    softmax = AdaptiveSoftmax(vocab, width, [6, 8], dropout=dropout, factor=2)
    for parameter in softmax.parameters():
        parameter.data.mul_(3)
    return Features(torch.randn(passes, tokens, width), softmax).double()
