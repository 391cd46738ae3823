"""Register the R-Drop tasks with fairseq."""

import fairseq  # noqa: F401  (first: the plugin registers at its end, and imports what is here)

from rdrop_fairseq.tasks import rdrop_language_modeling as rdrop_language_modeling
from rdrop_fairseq.tasks import rdrop_sentence_prediction as rdrop_sentence_prediction
from rdrop_fairseq.tasks import rdrop_translation as rdrop_translation
