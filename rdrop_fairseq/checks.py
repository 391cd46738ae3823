"""What all losses ask of their arguments, and how the outputs of M passes are told apart: torch only."""

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

MEAN, SUM, NONE = REDUCTIONS = ("mean", "sum", "none")


def check_name(what: str, name: object, allowed: Collection[str]) -> None:
    """Raise ``ValueError`` unless ``name`` is one of the allowed names."""
    if name not in allowed:
        raise ValueError(f"{what} {name!r}: must be one of {', '.join(allowed)}")


def check_tensor(what: str, value: object, kind: str = "a tensor") -> None:
    """Raise ``TypeError`` unless a value is a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{what} of type {type(value).__name__}: must be {kind}")


def check_numbers(alpha: float, label_smoothing: float, ignore_index: int) -> None:
    """Raise ``ValueError`` unless alpha is finite and at least 0, and label_smoothing in [0, 1).

    Raise ``TypeError`` if one of the three is no number.
    """
    numbers: dict[str, object] = {"alpha": alpha, "label_smoothing": label_smoothing, "ignore_index": ignore_index}
    for what, value in numbers.items():
        if not hasattr(value, "__float__"):
            raise TypeError(f"{what} {value!r}: must be a number")
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha {alpha}: must be a finite number >= 0")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing {label_smoothing}: must be in [0, 1)")


def weights_of_passes(pass_weights: Sequence[float] | None, passes: int) -> tuple[float, ...]:
    """Return the weight of the task's loss in each pass; without ``pass_weights`` each has weight 1.

    Raises:
        ValueError: unless there is a finite weight >= 0 for each pass.
    """
    weights = (1.0,) * passes if pass_weights is None else tuple(float(weight) for weight in pass_weights)
    if len(weights) != passes or not all(0 <= weight < math.inf for weight in weights):
        raise ValueError(f"pass_weights {list(weights)}: must be {passes} finite numbers >= 0, one for each pass")
    return weights


def split_passes(outputs: Tensor | Sequence[Tensor], passes: int, name: str = "outputs", fewest: int = 2) -> Tensor:
    """Return ``[M, N, ...]``: the outputs of M passes, as one tensor with the passes along its first dimension.

    Args:
        outputs: one tensor ``[M * N, ...]``, first the whole batch of the first pass, then that of the second, and so
            on; or a tuple or list of M tensors ``[N, ...]``.
        passes: M. A tuple says by itself how many there are.
        name: what the outputs are called in an error.
        fewest: the smallest M that is allowed.

    Raises:
        TypeError: if the outputs are neither.
        ValueError: if M does not divide the first dimension, if there are fewer passes than allowed, or if the tensors
            of a tuple have several shapes.
    """
    if isinstance(outputs, Tensor):
        if not isinstance(passes, int) or passes < fewest:
            raise ValueError(f"passes {passes!r}: must be a whole number >= {fewest}")
        if not outputs.dim() or outputs.size(0) % passes:
            raise ValueError(
                f"{name} of shape {list(outputs.shape)}: the first dimension must be a multiple of {passes}, the "
                "passes: the batch of the first pass, then that of the second"
            )
        split = outputs.unflatten(0, (passes, outputs.size(0) // passes))
    elif isinstance(outputs, (tuple, list)) and all(isinstance(output, Tensor) for output in outputs):
        shapes = [list(output.shape) for output in outputs]
        if len(outputs) < fewest or shapes.count(shapes[0]) < len(shapes):
            raise ValueError(
                f"{name} of shapes {shapes}: must be {fewest} or more tensors of one shape, one for each pass"
            )
        split = torch.stack(tuple(outputs))
    else:
        raise TypeError(f"{name} of type {type(outputs).__name__}: must be a tensor, or a tuple of one for each pass")
    if not split.is_floating_point():
        raise ValueError(f"{name} of type {split.dtype}: must be floating-point numbers")
    return split


def check_shape(target: Tensor, shape: Sequence[int], outputs: Tensor, hint: str = "") -> None:
    """Raise ``ValueError`` unless the target has the shape; ``outputs [M, N, ...]`` are those of all passes."""
    if list(target.shape) == list(shape):
        return
    if target.dim() and target.size(0) == outputs.size(0) * outputs.size(1) != outputs.size(1):
        hint = "; the target is not repeated, it is that of one pass"
    raise ValueError(
        f"target of shape {list(target.shape)}: must be {list(shape)} for outputs of shape "
        f"{list(outputs.shape[1:])} in each of {len(outputs)} passes{hint}"
    )


def may_look(tensor: Tensor) -> bool:
    """Return whether values may be looked at: on a GPU that would wait for it, and a compiler cannot."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def check_classes(target: Tensor, classes: int, ignore_index: int) -> None:
    """Raise ``ValueError`` if a target that is not ignored is no class from 0 to ``classes - 1``."""
    wrong = target[(target.lt(0) | target.ge(classes)) & target.ne(ignore_index)]
    if wrong.numel():
        raise ValueError(
            f"target {wrong[0].item()}: must be a class from 0 to {classes - 1}, or ignore_index ({ignore_index})"
        )


def refuse_infinite(what: str, wrong: Tensor) -> None:
    """Raise ``ValueError`` if there is NaN or infinity where ``wrong`` is true, if its values may be looked at."""
    if may_look(wrong) and (count := int(wrong.sum())):
        raise ValueError(f"{what}: NaN or infinity at {count} of {wrong.numel()} places")
