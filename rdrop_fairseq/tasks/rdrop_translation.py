"""fairseq's translation task with R-Drop's schedules, also for summarization."""

from dataclasses import dataclass

from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from rdrop_fairseq.tasks.rdrop_task import RDropTask, RDropTaskConfig


@dataclass
class RDropTranslationConfig(TranslationConfig, RDropTaskConfig):
    """The parent's settings and those of every R-Drop task."""


@register_task("rdrop_translation", dataclass=RDropTranslationConfig)
class RDropTranslationTask(RDropTask, TranslationTask):
    """Do all that fairseq's ``translation`` does, and what R-Drop's schedules of alpha need."""
