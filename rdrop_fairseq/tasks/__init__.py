"""Register the R-Drop tasks with fairseq."""

from rdrop_fairseq.tasks import rdrop_language_modeling as rdrop_language_modeling
from rdrop_fairseq.tasks import rdrop_translation as rdrop_translation
