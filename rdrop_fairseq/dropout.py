"""The dropout rates of a model, and another rate for the time of one pass."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_TORCH_DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)

# The attribute in which each kind of module keeps its dropout rate.
_ATTRIBUTES: dict[type[nn.Module], str] = {
    **dict.fromkeys(_TORCH_DROPOUTS, "p"),
    nn.RNNBase: "dropout",
    nn.MultiheadAttention: "dropout",
}


class DropoutRateError(ValueError):
    """The model cannot take another dropout rate for one pass."""


def register_dropout(kind: type[nn.Module], attribute: str) -> None:
    """Let all modules of ``kind``, and of classes derived from it, count as dropout.

    Example: ``register_dropout(timm.layers.DropPath, "drop_prob")``.

    Args:
        kind: the class of the modules. Its forward must read the rate from the module at each call.
        attribute: the name of the attribute that holds the rate, a probability in [0, 1).
    """
    _ATTRIBUTES[kind] = attribute


def dropouts_of(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Return each dropout of ``model`` that is switched on (rate above 0), with the attribute that holds its rate."""
    return [
        (module, attribute)
        for module in model.modules()
        for kind, attribute in _ATTRIBUTES.items()
        if isinstance(module, kind) and rate_at(module, attribute) > 0
    ]


@contextmanager
def dropout_rate(model: nn.Module, rate: float) -> Iterator[None]:
    """Within the context, let every dropout of ``model`` that is switched on (rate above 0) drop at ``rate``.

    A dropout whose rate is 0 stays off. The model gets its own rates back at the end, also when the body raises. A
    backward that runs the forward again (activation checkpointing) must end before the context does.

    Raises:
        DropoutRateError: if the model has no dropout that is switched on.
    """
    found = dropouts_of(model)
    if not found:
        raise DropoutRateError("needs a model with dropout; all dropout rates of this one are 0")
    own_rates = [getattr(module, attribute) for module, attribute in found]
    try:
        for module, attribute in found:
            setattr(module, attribute, rate)
        yield
    finally:
        for (module, attribute), own_rate in zip(found, own_rates, strict=True):
            setattr(module, attribute, own_rate)


def rate_at(module: nn.Module, path: str) -> float:
    """Return the number at an attribute, or at an attribute of an attribute ("a.b"); 0 where there is no number."""
    value: object = module
    for name in path.split("."):
        value = getattr(value, name, 0)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0
