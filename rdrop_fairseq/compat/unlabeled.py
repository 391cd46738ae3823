"""Data sets of fairseq in which something has no label."""

import copy

import numpy as np
from fairseq.data import BaseWrapperDataset, ConcatDataset, Dictionary, FairseqDataset, LanguagePairDataset, data_utils
from torch import Tensor

from rdrop_fairseq.compat.task_and_criterion import IGNORED, MARK


def without_mark(dictionary: Dictionary) -> Dictionary:
    """Return a dictionary of labels without the mark; the others keep their order."""
    labels = Dictionary()
    for symbol in dictionary.symbols[dictionary.nspecial :]:
        if symbol != MARK:
            labels.add_symbol(symbol)
    return labels


class MarkedClasses(BaseWrapperDataset):
    """Classes as ``without_mark`` numbers them, from those of the dictionary with the mark.

    Args:
        dataset: of tensors ``[1]``, the places of labels in the dictionary, counted from 0.
        mark: the place of the mark; its class is -100.
    """

    def __init__(self, dataset: FairseqDataset, mark: int) -> None:
        super().__init__(dataset)
        self.mark = mark

    def __getitem__(self, index: int) -> Tensor:
        """Return the class as a tensor ``[1]``."""
        places = self.dataset[index]
        return (places - places.gt(self.mark).long()).masked_fill(places.eq(self.mark), IGNORED)


class RowsAtTimes(BaseWrapperDataset):
    """A data set of which an epoch has some rows several times, and others not at all.

    Args:
        dataset: the data set.
        times: how often an epoch has each row, ``[N]``.
        seed: of the order, which is shuffled; None leaves it as it is, with a row's copies side by side.
    """

    def __init__(self, dataset: FairseqDataset, times: np.ndarray, seed: int | None) -> None:
        super().__init__(dataset)
        rows = dataset.ordered_indices()
        self.order = np.repeat(rows, times[rows])
        if seed is not None:
            with data_utils.numpy_seed(seed):
                self.order = np.random.permutation(self.order)

    def ordered_indices(self) -> np.ndarray:
        """Return the numbers of the rows as often as an epoch has them."""
        return self.order


class PairsAndUnlabeled(BaseWrapperDataset):
    """Pairs of sentences, and others whose targets are no labels; a batch says which are which.

    Args:
        labeled: the pairs with labels.
        unlabeled: the pairs without.
        times: how often an epoch has each pair with a label.
    """

    def __init__(self, labeled: LanguagePairDataset, unlabeled: LanguagePairDataset, times: int) -> None:
        parts = [labeled] * times + [unlabeled]
        pairs = copy.copy(labeled)  # with its settings: the side of the padding, the order by length, and others
        pairs.src, pairs.tgt = (ConcatDataset([getattr(part, side) for part in parts]) for side in ("src", "tgt"))
        pairs.src_sizes = np.concatenate([part.src_sizes for part in parts])
        pairs.tgt_sizes = np.concatenate([part.tgt_sizes for part in parts])
        pairs.sizes = np.vstack((pairs.src_sizes, pairs.tgt_sizes)).T
        super().__init__(pairs)
        self.first = len(labeled) * times

    def collater(self, samples: list[dict]) -> dict:
        """Return the batch, with a bool for each sentence as ``unlabeled [B]``."""
        batch = self.dataset.collater(samples)
        if batch:
            batch["unlabeled"] = batch["id"] >= self.first
        return batch
