"""What an R-Drop task and an R-Drop criterion know of each other, so that neither has to import the other."""

from typing import Any

MARK = "<unlabeled>"  # the label of a sentence that has none
IGNORED = -100  # the class of such a sentence in a batch: torch's losses leave it out


class TellsNumUpdates:
    """Base class of a task that sets ``criterion.num_updates`` before each training step.

    The flags of alpha's schedule need such a task: ``--rdrop-every``, ``--rdrop-warmup-updates``,
    ``--rdrop-start-update`` and ``--rdrop-decay-updates``.
    """


class OffersUnlabeled:
    """Base class of a task whose training set may hold something without labels (``--rdrop-unlabeled-alpha``)."""


class ChecksModel:
    """Base class of a criterion that can tell whether it fits a model before any data is loaded."""

    def check_model(self, model: Any) -> None:
        """Exit with one line if the criterion does not fit the model."""
