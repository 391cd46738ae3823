"""fairseq's translation task with R-Drop's schedules; also for summarization."""

from dataclasses import dataclass

from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from rdrop_fairseq.tasks.rdrop_task import RDropTask, RDropTaskConfig


@dataclass
class RDropTranslationConfig(TranslationConfig, RDropTaskConfig):
    """The parent's settings, and what an R-Drop task reads of fairseq's."""


@register_task("rdrop_translation", dataclass=RDropTranslationConfig)
class RDropTranslationTask(RDropTask, TranslationTask):
    """fairseq's ``translation`` in every respect; ``--rdrop-every`` and ``--rdrop-warmup-updates`` need it."""
