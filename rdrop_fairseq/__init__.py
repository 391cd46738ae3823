"""R-Drop (Liang et al., NeurIPS 2021) as a fairseq plugin: importing it registers the tasks and criterions.

The names in ``__all__`` need torch alone and also work where fairseq is not installed. ``divergence``, ``dropout``,
``fused``, ``passes`` and ``schedule`` are modules: the function is ``rdrop_fairseq.divergence.divergence``.
"""

from importlib.util import find_spec

from rdrop_fairseq import divergence, dropout, fused, passes, schedule
from rdrop_fairseq.divergence import DIVERGENCES
from rdrop_fairseq.dropout import DropoutRateError, dropout_rate, register_dropout
from rdrop_fairseq.fused import RDropLoss, linear_rdrop_loss
from rdrop_fairseq.passes import forward_passes, register_one_draw, repeat_batch
from rdrop_fairseq.schedule import AlphaSchedule

__version__ = "0.1.0"

__all__ = [
    "DIVERGENCES",
    "AlphaSchedule",
    "DropoutRateError",
    "RDropLoss",
    "divergence",
    "dropout",
    "dropout_rate",
    "forward_passes",
    "fused",
    "linear_rdrop_loss",
    "passes",
    "register_dropout",
    "register_one_draw",
    "repeat_batch",
    "schedule",
]

if find_spec("fairseq") is not None:
    from rdrop_fairseq import criterions as criterions
    from rdrop_fairseq import tasks as tasks
    from rdrop_fairseq.compat.checkpoints import allow_fairseq_checkpoints
    from rdrop_fairseq.compat.forwards import register_fairseq_modules

    allow_fairseq_checkpoints()
    register_fairseq_modules()
