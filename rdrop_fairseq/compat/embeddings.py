"""Cut the token embeddings of fairseq's encoders and decoders, for the time of one forward."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

from rdrop_fairseq.compat.output_projection import unwrapped
from rdrop_fairseq.cutoff import Cutoff, features_to_cut, positions_to_cut

_CODERS = {"source": "encoder", "target": "decoder"}


class NoEmbeddingError(ValueError):
    """The model has no token embeddings that could be cut; the message says why."""


def check_embeddings(model: Any, cutoff: Cutoff) -> None:
    """Raise ``NoEmbeddingError`` if the model has no embeddings of tokens on a side that is to be cut.

    With ``both``, a model that has no encoder (a language model) is cut at the decoder's input alone.
    """
    coders = _coders(model)
    for side in _sides(cutoff):
        if side in coders and isinstance(getattr(coders[side], "embed_tokens", None), nn.Module):
            continue
        if side == "source" and side not in coders and cutoff.side == "both":
            continue
        what = _CODERS[side] if side not in coders else f"embeddings of tokens in its {_CODERS[side]}"
        raise NoEmbeddingError(f"{type(unwrapped(model)).__name__} has no {what}")


def dictionaries_of(task: Any) -> dict[str, Dictionary]:
    """Return the dictionary of each side of a task; where the source has none, that of the target."""
    return {"source": task.source_dictionary or task.target_dictionary, "target": task.target_dictionary}


@contextmanager
def cut_embeddings(
    model: Any, cutoff: Cutoff, dictionaries: Mapping[str, Dictionary], rows: Sequence[slice], prefix: int = 0
) -> Iterator[None]:
    """Within the context, cut the given rows of the batch that the model gets.

    It hooks into the encoder's and the decoder's ``embed_tokens``, whatever its type, and takes the hooks away at the
    end, also when the body raises. All that the model makes of the tokens itself (positions, padding mask) stays.
    A token is never cut if it is bos, eos or padding, in the first column of the decoder's input or in the prefix after
    it; nor if it is ``<unk>``, where ``<unk>`` is the replacement. Features are cut at all positions.

    Args:
        model: a model of fairseq's, in its wrappers or not.
        cutoff: what to cut.
        dictionaries: that of each side, ``source`` and ``target``.
        rows: which rows of the tokens ``[B, T]`` are cut.
        prefix: how many tokens at the start of the target do not count.
    """
    running: list[str] = []  # the side whose encoder or decoder has begun last: both may share one embedding
    coders = _coders(model)
    sides = _sides(cutoff)
    embeddings: dict[str, Any] = {side: getattr(coder, "embed_tokens", None) for side, coder in coders.items()}
    shared = len(set(embeddings.values())) < len(embeddings)
    unks = {side: dictionary.unk() for side, dictionary in dictionaries.items()}

    def draw(tokens: Tensor, side: str) -> Tensor:
        mask = torch.zeros_like(tokens, dtype=torch.bool)
        for part in rows:
            kept = _kept(dictionaries[side], cutoff)
            mask[part] = positions_to_cut(tokens[part], kept, 1 + prefix if side == "target" else 0, cutoff)
        return mask

    def side_of(module: nn.Module) -> str:
        return running[-1] if shared else next(side for side, known in embeddings.items() if known is module)

    def by_unk(module: nn.Module, args: Any) -> Any:
        side = side_of(module)
        if side not in sides:
            return None
        tokens, *rest = args
        return (tokens.masked_fill(draw(tokens, side), unks[side]), *rest)

    def by_zero(module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        side = side_of(module)
        if side not in sides:
            return None
        if cutoff.unit != "feature":
            return output.masked_fill(draw(args[0], side).unsqueeze(-1), 0)
        mask = torch.zeros(len(output), 1, output.size(-1), dtype=torch.bool, device=output.device)
        for part in rows:
            mask[part] = features_to_cut(len(mask[part]), output.size(-1), cutoff.probability, output.device)
        return output.masked_fill(mask, 0)

    handles = []
    try:
        for side, coder in coders.items():
            handles.append(coder.register_forward_pre_hook(lambda module, args, side=side: running.append(side)))
        for embedding in {embeddings[side] for side in sides if side in coders}:
            if cutoff.replacement == "unk":
                handles.append(embedding.register_forward_pre_hook(by_unk))
            else:
                handles.append(embedding.register_forward_hook(by_zero))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _coders(model: Any) -> dict[str, Any]:
    """Return the encoder and the decoder of the model, as far as it has them, by side."""
    inner = unwrapped(model)
    found = {side: getattr(inner, name, None) for side, name in _CODERS.items()}
    return {side: coder for side, coder in found.items() if isinstance(coder, nn.Module)}


def _sides(cutoff: Cutoff) -> Collection[str]:
    """Return the sides that are cut."""
    return tuple(_CODERS) if cutoff.side == "both" else (cutoff.side,)


def _kept(dictionary: Dictionary, cutoff: Cutoff) -> set[int]:
    """Return the tokens that are never cut."""
    kept = {dictionary.bos(), dictionary.eos(), dictionary.pad()}
    return kept | {dictionary.unk()} if cutoff.replacement == "unk" else kept
