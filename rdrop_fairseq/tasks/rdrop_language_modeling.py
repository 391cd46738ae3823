"""fairseq's language-modeling task with R-Drop's schedules."""

import sys
from dataclasses import dataclass
from typing import Any

import numpy
from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask

from rdrop_fairseq.tasks.rdrop_task import RDropTask, RDropTaskConfig


@dataclass
class RDropLanguageModelingConfig(LanguageModelingConfig, RDropTaskConfig):
    """The parent's settings and those of every R-Drop task."""


@register_task("rdrop_language_modeling", dataclass=RDropLanguageModelingConfig)
class RDropLanguageModelingTask(RDropTask, LanguageModelingTask):
    """Do all that fairseq's ``language_modeling`` does, and what R-Drop's schedules of alpha need."""

    def load_dataset(self, split: str, *args: Any, **kwargs: Any) -> Any:
        """Load the parent's data set; exit with one line where fairseq's code for it does not run with numpy 2."""
        # For this mode fairseq uses numpy.compat, which newer releases of numpy do not have.
        if self.args.sample_break_mode == "eos" and not hasattr(numpy, "compat"):
            sys.exit(
                f"error: --sample-break-mode eos: fairseq needs numpy < 2 for it, and here is {numpy.__version__}; "
                "must be none, complete or complete_doc"
            )
        return super().load_dataset(split, *args, **kwargs)
