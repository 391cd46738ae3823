"""R-Drop (Liang et al., NeurIPS 2021) as a fairseq plugin: importing it registers the tasks and criterions.

``divergence``, ``passes`` and ``schedule`` need torch alone and also work where fairseq is not installed.
"""

from importlib.util import find_spec

__version__ = "0.1.0"

if find_spec("fairseq") is not None:
    from rdrop_fairseq import criterions, tasks
    from rdrop_fairseq.checkpoints import allow_fairseq_checkpoints

    allow_fairseq_checkpoints()
    __all__ = ["criterions", "tasks"]
