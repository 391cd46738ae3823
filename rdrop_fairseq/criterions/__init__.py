"""Register the R-Drop criterions with fairseq."""

from rdrop_fairseq.criterions import rdrop_adaptive_loss as rdrop_adaptive_loss
from rdrop_fairseq.criterions import rdrop_cross_entropy as rdrop_cross_entropy
from rdrop_fairseq.criterions import rdrop_label_smoothed_cross_entropy as rdrop_label_smoothed_cross_entropy
