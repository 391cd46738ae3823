"""fairseq's translation task with R-Drop's schedules; also for summarization."""

from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from rdrop_fairseq.tasks.rdrop_task import RDropTask


@register_task("rdrop_translation", dataclass=TranslationConfig)
class RDropTranslationTask(RDropTask, TranslationTask):
    """fairseq's ``translation`` in every respect; ``--rdrop-every`` and ``--rdrop-warmup-updates`` need it."""
