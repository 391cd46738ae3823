"""R-Drop (Liang et al., NeurIPS 2021): a loss for any PyTorch loop, and a fairseq plugin.

The names in ``__all__`` need torch alone. ``divergence``, ``dropout``, ``fused``, ``loss``, ``model``, ``passes`` and
``schedule`` are modules: the function is ``rdrop_fairseq.divergence.divergence``.

Importing the package does not import fairseq. The tasks and criterions register as soon as fairseq is imported, by
``--user-dir``, by a program or by one of the packages ``rdrop_fairseq.criterions``, ``tasks`` and ``compat``.
"""

from importlib import import_module
from types import ModuleType

from rdrop_fairseq import divergence, dropout, fused, loss, model, passes, schedule
from rdrop_fairseq.after_import import after_import
from rdrop_fairseq.divergence import DIVERGENCES
from rdrop_fairseq.dropout import DropoutRateError, dropout_rate, register_dropout
from rdrop_fairseq.fused import RDropLoss, linear_rdrop_loss
from rdrop_fairseq.loss import LOSSES, rdrop_loss
from rdrop_fairseq.model import RDrop
from rdrop_fairseq.passes import forward_passes, register_one_draw, repeat_batch
from rdrop_fairseq.schedule import AlphaSchedule

__version__ = "0.1.0"

__all__ = [
    "DIVERGENCES",
    "LOSSES",
    "AlphaSchedule",
    "DropoutRateError",
    "RDrop",
    "RDropLoss",
    "divergence",
    "dropout",
    "dropout_rate",
    "forward_passes",
    "fused",
    "linear_rdrop_loss",
    "loss",
    "model",
    "passes",
    "rdrop_loss",
    "register_dropout",
    "register_one_draw",
    "repeat_batch",
    "schedule",
]


def __getattr__(name: str) -> ModuleType:
    """Import a package that needs fairseq when it is asked for."""
    if name in ("compat", "criterions", "tasks"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _register() -> None:
    """Register the tasks and criterions, and all else that fairseq is to know."""
    from rdrop_fairseq import criterions, tasks  # noqa: F401
    from rdrop_fairseq.compat.checkpoints import allow_fairseq_checkpoints, let_bart_load
    from rdrop_fairseq.compat.forwards import register_fairseq_modules

    allow_fairseq_checkpoints()
    let_bart_load()
    register_fairseq_modules()


after_import("fairseq", _register)
