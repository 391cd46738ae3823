"""Data sets in which something has no label: classes without the mark, rows several times, pairs of two sets."""

import numpy as np
import torch
from fairseq.data import LanguagePairDataset, ListDataset, SortDataset
from support.helpers import dictionary

from rdrop_fairseq.compat.task_and_criterion import MARK
from rdrop_fairseq.compat.unlabeled import MarkedClasses, PairsAndUnlabeled, RowsAtTimes, without_mark


def test_the_mark_is_no_class_wherever_it_stands():
    labels = dictionary(["no", MARK, "yes"])
    places = [labels.index(word) - labels.nspecial for word in ("yes", MARK, "no", "?")]
    classes = MarkedClasses(ListDataset([torch.tensor([place]) for place in places]), labels.index(MARK) - 4)
    assert [int(classes[row]) for row in range(4)] == [1, -100, 0, -1]  # the last is unknown, and stays so
    assert without_mark(labels).symbols[4:] == ["no", "yes"]


def test_rows_several_times_and_not_at_all():
    rows = SortDataset(ListDataset(list(range(4)), np.ones(4)), sort_order=[np.arange(4)])
    times = np.array([2, 0, 1, 3])
    assert RowsAtTimes(rows, times, None).ordered_indices().tolist() == [0, 0, 2, 3, 3, 3]
    orders = [RowsAtTimes(rows, times, seed).ordered_indices().tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2] and sorted(orders[2]) == [0, 0, 2, 3, 3, 3]


def pairs(*lengths):
    """Pairs whose words say how long they are."""
    words = [torch.tensor([4 + length] * length + [2]) for length in lengths]
    sizes = [len(sentence) for sentence in words]
    known = dictionary()
    return LanguagePairDataset(ListDataset(words, sizes), sizes, known, ListDataset(words, sizes), sizes, known)


def test_a_batch_says_which_pairs_have_no_label():
    joined = PairsAndUnlabeled(pairs(1, 2), pairs(3, 1, 4), times=2)
    assert len(joined) == 7 and joined.sizes.tolist() == [[n, n] for n in (2, 3, 2, 3, 4, 2, 5)]
    batch = joined.collater([joined[row] for row in range(7)])
    of_length = {}
    for length, unlabeled in zip(batch["net_input"]["src_lengths"].tolist(), batch["unlabeled"].tolist(), strict=True):
        of_length.setdefault(length - 1, []).append(unlabeled)
    assert {length: sorted(marks) for length, marks in of_length.items()} == {
        1: [False, False, True], 2: [False, False], 3: [True], 4: [True]
    }  # fmt: skip
    order = joined.ordered_indices()
    assert joined.sizes[order, 0].tolist() == [2, 2, 2, 3, 3, 4, 5]  # by length, from both sets
    assert joined.collater([]) == {}
