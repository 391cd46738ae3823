"""Which parts of a pass's input are cut (Shen et al., 2020; SimCut: Gao et al., 2022): torch only.

A cut takes away tokens, spans of tokens, or features of the embeddings. All of it is drawn from torch's generator for
the device, which fairseq's trainer seeds at each update: so a run that resumes draws as the uninterrupted one.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

UNITS = ("token", "span", "feature")
REPLACEMENTS = ("zero", "unk")
SIDES = ("source", "target", "both")

# The tiling of Cutoff's code: lengths are min(Geometric(0.2) + 1, 10), and there are at least five spans.
_GEOMETRIC, _LONGEST, _FEWEST = 0.2, 10, 5


@dataclass(frozen=True)
class Cutoff:
    """What is cut, in which passes.

    Attributes:
        probability: of a token or span to be cut, in (0, 1); of the features, the part that is cut.
        unit: one of ``UNITS``.
        replacement: one of ``REPLACEMENTS``: embeddings of 0, or the word ``<unk>`` in place of the token.
        side: one of ``SIDES``: the encoder's input, the decoder's, or both.
        passes: the passes that are cut, counted from 0.
    """

    probability: float
    unit: str
    replacement: str
    side: str
    passes: tuple[int, ...]


def positions_to_cut(tokens: Tensor, kept: Collection[int], first: int, cutoff: Cutoff) -> Tensor:
    """Draw the positions of ``tokens [B, T]`` that are cut, by token or span: booleans ``[B, T]``.

    Args:
        tokens: word indices.
        kept: the words that are never cut.
        first: how many columns at the start are never cut either.
        cutoff: its unit is ``token``: each position that may be cut is cut with the probability; or ``span``: the
            positions of a sentence that may be cut are tiled with spans, and each span is cut with the probability.
    """
    may = torch.ones_like(tokens, dtype=torch.bool)
    for word in kept:
        may &= tokens != word
    may[:, :first] = False
    if cutoff.unit == "span":
        return _spans(may, cutoff.probability)
    return (torch.rand(may.shape, device=may.device) < cutoff.probability) & may


def features_to_cut(sentences: int, width: int, probability: float, device: torch.device) -> Tensor:
    """Draw ``int(width * probability)`` features of each sentence, at least one: booleans ``[B, 1, width]``.

    They are the same at all positions of a sentence.
    """
    count = max(1, int(width * probability))
    order = torch.rand(sentences, width, device=device).argsort(-1)
    return (order < count).unsqueeze(1)


def _spans(may: Tensor, probability: float) -> Tensor:
    """Tile the positions of each sentence that may be cut with spans, and return those of the spans that are cut.

    The lengths of the spans are ``min(Geometric(0.2) + 1, 10)``, where the geometric distribution starts at 1. A
    sentence that would have fewer than five spans gets five of about one length.
    """
    sentences, columns = may.shape
    count = may.sum(1, keepdim=True)
    place = (may.cumsum(1) - 1).clamp_min(0)  # of each position among those that may be cut
    lengths = torch.empty(may.shape, device=may.device).geometric_(_GEOMETRIC).add_(1).clamp_max_(_LONGEST)
    ends = lengths.cumsum(1).long()
    span = torch.searchsorted(ends, place, right=True)
    spans = torch.searchsorted(ends, (count - 1).clamp_min(0), right=True) + 1
    span = span.where(spans >= _FEWEST, place * _FEWEST // count.clamp_min(1))
    cut = torch.rand(sentences, max(columns, _FEWEST), device=may.device) < probability
    return cut.gather(1, span) & may
