"""Register the R-Drop criterions with fairseq."""

import fairseq  # noqa: F401  (first: the plugin registers at its end, and imports what is here)

from rdrop_fairseq.criterions import rdrop_adaptive_loss as rdrop_adaptive_loss
from rdrop_fairseq.criterions import rdrop_cross_entropy as rdrop_cross_entropy
from rdrop_fairseq.criterions import rdrop_label_smoothed_cross_entropy as rdrop_label_smoothed_cross_entropy
from rdrop_fairseq.criterions import rdrop_sentence_prediction as rdrop_sentence_prediction
