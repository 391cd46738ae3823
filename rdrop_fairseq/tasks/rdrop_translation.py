"""fairseq's translation task with R-Drop's schedules, also for summarization."""

import sys
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.data import ConcatDataset
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from rdrop_fairseq.compat.task_and_criterion import OffersUnlabeled
from rdrop_fairseq.compat.unlabeled import PairsAndUnlabeled
from rdrop_fairseq.tasks.rdrop_task import RDropTask, RDropTaskConfig


@dataclass
class RDropTranslationConfig(TranslationConfig, RDropTaskConfig):
    """The parent's settings and those of every R-Drop task."""

    rdrop_unlabeled_subset: Optional[str] = field(  # noqa: UP045  (fairseq's argument parser knows no other spelling)
        default=None,
        metadata={
            "help": "a second training set, of pairs whose targets are no labels, such as a model's own translations: "
            "they give --rdrop-unlabeled-alpha times the divergence alone; --upsample-primary repeats the other pairs"
        },
    )


@register_task("rdrop_translation", dataclass=RDropTranslationConfig)
class RDropTranslationTask(RDropTask, OffersUnlabeled, TranslationTask):
    """Do all that fairseq's ``translation`` does, and what R-Drop's schedules of alpha need.

    With ``--rdrop-unlabeled-subset`` the training set also has the pairs of that subset, and its batches say in
    ``unlabeled`` which sentences they are.
    """

    def build_criterion(self, *args: Any, **kwargs: Any) -> Any:
        """Return the criterion; exit with one line if only the weight or only the pairs are given."""
        criterion = super().build_criterion(*args, **kwargs)
        name = getattr(self.cfg, "rdrop_unlabeled_subset", None)  # a checkpoint of an earlier version lacks it
        if self.takes_unlabeled and not name:
            sys.exit("error: --rdrop-unlabeled-alpha: must be 0 without --rdrop-unlabeled-subset")
        if name and not self.takes_unlabeled:
            sys.exit(
                f"error: --rdrop-unlabeled-subset {name}: must be left out without --rdrop-unlabeled-alpha above 0"
            )
        if name and self.cfg.num_batch_buckets:
            sys.exit("error: --num-batch-buckets: must be 0 with --rdrop-unlabeled-subset")
        return criterion

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:
        """Load a subset as the parent does, and the unlabelled one with that of training.

        Exit with one line if the unlabelled one is missing or has no targets.
        """
        super().load_dataset(split, epoch, combine, **kwargs)
        if not self.takes_unlabeled or split != self.cfg.train_subset:
            return
        name, labeled = self.cfg.rdrop_unlabeled_subset, self.datasets[split]
        try:
            super().load_dataset(name, epoch, **kwargs)
        except FileNotFoundError as error:
            sys.exit(f"error: --rdrop-unlabeled-subset {name}: {error}")
        unlabeled = self.datasets.pop(name)
        if unlabeled.tgt is None or not len(unlabeled):
            sys.exit(f"error: --rdrop-unlabeled-subset {name}: must hold pairs; a model's translations will do")
        # Where there are train1, train2 and so on, fairseq has repeated the first one already.
        # Otherwise its default, -1, stands for once.
        times = 1 if isinstance(labeled.src, ConcatDataset) else max(1, self.cfg.upsample_primary)
        self.datasets[split] = PairsAndUnlabeled(labeled, unlabeled, times)
