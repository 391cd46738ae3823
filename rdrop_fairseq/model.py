"""Run the passes of any PyTorch model: one forward of the repeated batch where that is right."""

import warnings
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rdrop_fairseq.passes import in_turn, is_random, map_tensors, needs_separate_forwards, repeat_tensors


class RDrop:
    """Call a model on a batch and get its outputs of M passes, each with a dropout of its own.

    ``RDrop(model)(x)`` is ``model(torch.cat([x, x]))``: outputs ``[2 * N, ...]`` for ``rdrop_loss``. Where one forward
    of the repeated batch is not two independent forwards, it calls the model on the batch M times and joins the
    outputs: with batch normalization in training mode, recurrent layers, LayerDrop, and whatever else
    ``register_one_draw`` names.

    It is no module and has no parameters. So the model's optimizer, ``state_dict``, ``train()`` and ``eval()`` stay as
    they are, and the model may be wrapped, in ``DistributedDataParallel`` or by ``torch.compile``. To evaluate, call
    the model itself.

    If the passes of its first call are equal, because the model is in evaluation mode or all its dropout rates are 0,
    it warns once: their divergence is then 0, and R-Drop has no effect.

    Args:
        model: the module to call.
        passes: M >= 2.
        dropouts: one dropout rate for each pass, in place of the model's own, or None. The model may then not
            checkpoint its activations, which would be computed a second time at its own rates.
        shared: the names of keyword arguments that are the same for all samples, such as positions. They are passed
            as they are, also where their first dimension happens to have the size of the batch.
    """

    def __init__(
        self,
        model: nn.Module,
        passes: int = 2,
        *,
        dropouts: Sequence[float] | None = None,
        shared: Collection[str] = (),
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model of type {type(model).__name__}: must be a torch.nn.Module")
        if not isinstance(passes, int) or passes < 2:
            raise ValueError(f"passes {passes!r}: must be a whole number >= 2")
        if dropouts is not None and (len(dropouts) != passes or not all(0 <= rate < 1 for rate in dropouts)):
            raise ValueError(f"dropouts {list(dropouts)}: must be {passes} rates in [0, 1), one for each pass")
        self.model, self.passes, self.dropouts = model, passes, dropouts
        self.shared = {shared} if isinstance(shared, str) else set(shared)
        self.looked = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs of all passes, in the structure that the model returns.

        The size N of the batch is the first dimension of the first tensor in the arguments. Each tensor with that first
        dimension is repeated, at any depth of dicts, lists, tuples and dataclasses. Where the passes are separate
        forwards, each tensor with that first dimension in the outputs is joined along it, and all else is that of the
        first pass.

        Raises:
            ValueError: if no argument is a tensor, or if the first call lacks an argument that is named in ``shared``.
            DropoutRateError: if there are ``dropouts`` and the model has no dropout that is switched on.
        """
        if not self.looked and (unknown := self.shared - set(kwargs)):
            raise ValueError(f"shared {sorted(unknown)}: no keyword argument has such a name")
        shared = {name: value for name, value in kwargs.items() if name in self.shared}
        own = args, {name: value for name, value in kwargs.items() if name not in shared}
        size = _first_dimension(own)
        if size is None:
            raise ValueError("no argument is a tensor of one or more dimensions, so the batch has no size")
        if self.dropouts is None and not needs_separate_forwards(self.model):
            repeated, named = repeat_tensors(own, size, self.passes)
            outputs = self.model(*repeated, **named, **shared)
        else:
            calls = [lambda: self.model(*args, **kwargs)] * self.passes
            outputs = map_tensors(lambda *each: _join(each, size), *in_turn(self.model, self.dropouts, calls))
        if not self.looked:
            self.looked = True
            self._warn_if_equal(outputs, size)
        return outputs

    def _warn_if_equal(self, outputs: Any, size: int) -> None:
        """Warn if the passes are equal and nothing of the model is random; otherwise it may be chance, or a new layer.

        Only a model that shows nothing random is looked at, because on a GPU that waits for it.
        """
        training = any(module.training for module in self.model.modules())
        if training and is_random(self.model):
            return
        if not _are_equal(outputs, size, self.passes):
            return
        reason = "all its dropout rates are 0" if training else "it is in evaluation mode; call model.train()"
        warnings.warn(
            f"R-Drop has no effect: the {self.passes} passes of the model are equal, because {reason}", stacklevel=3
        )


def _first_dimension(value: Any) -> int | None:
    """Return the first dimension of the first tensor in a value that has one, None if there is none."""
    found: list[int] = []
    map_tensors(lambda tensor: found.append(tensor.size(0)) if tensor.dim() and not found else None, value)
    return found[0] if found else None


def _join(each: Sequence[Tensor], size: int) -> Tensor:
    """Return the tensors of all passes along their first dimension if it is that of the batch, else the first one."""
    first = each[0]
    return torch.cat(tuple(each)) if first.dim() and first.size(0) == size else first


def _are_equal(outputs: Any, size: int, passes: int) -> bool:
    """Return whether all floating-point outputs of the repeated batch are equal in all passes, but for rounding."""
    found: list[bool] = []

    def look(tensor: Tensor) -> None:
        if tensor.dim() and tensor.size(0) == size * passes and tensor.is_floating_point():
            first, *rest = tensor.detach().chunk(passes)
            found.append(all(torch.allclose(first, one, rtol=1e-4, atol=1e-6, equal_nan=True) for one in rest))

    map_tensors(look, outputs)
    return bool(found) and all(found)
