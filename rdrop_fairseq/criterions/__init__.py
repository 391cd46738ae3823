"""Registers the R-Drop criterions with fairseq."""

from rdrop_fairseq.criterions import rdrop_label_smoothed_cross_entropy as rdrop_label_smoothed_cross_entropy
