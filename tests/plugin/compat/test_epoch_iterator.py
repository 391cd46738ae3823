"""A run that resumes: with the same batches, and in the epoch where it was left, on any number of processes."""

from itertools import pairwise, product

import numpy
import pytest
from fairseq.data import FairseqDataset
from fairseq.data.iterators import EpochBatchIterator, GroupedIterator
from support.helpers import build_task

from rdrop_fairseq.compat.epoch_iterator import SharedEpochIterator


class Sentences(FairseqDataset):
    """48 numbers."""

    collater = staticmethod(numpy.array)

    def __len__(self):
        return 48

    def __getitem__(self, index):
        return index


def processes(number, batch_size=2, kind=SharedEpochIterator):
    """Return the iterators of this number of processes over the same batches."""
    sentences = Sentences()
    batches = [list(range(i, i + batch_size)) for i in range(0, len(sentences), batch_size)]
    return [
        kind(sentences, collate_fn=list, batch_sampler=batches, seed=1, num_shards=number, shard_id=shard)
        for shard in range(number)
    ]


def train(iterators, update_freq, updates=None):
    """Return the sentences of each update, all processes together, until ``updates`` or the end of the epoch."""
    shares = [GroupedIterator(iterator.next_epoch_itr(), update_freq) for iterator in iterators]
    seen = []
    while shares[0].has_next() and len(seen) != updates:
        seen.append(sorted(sentence for share in shares for batch in next(share) for sentence in batch))
    return seen


@pytest.mark.parametrize("saved_on, update_freq", [(2, 2), (4, 1), (1, 4)])
@pytest.mark.parametrize("goes_on_on, goes_on_freq", [(1, 4), (2, 2), (4, 1)])
@pytest.mark.parametrize("updates", [1, 5, 6])
def test_the_updates_are_those_of_an_uninterrupted_epoch(saved_on, update_freq, goes_on_on, goes_on_freq, updates):
    whole = train(processes(1), 4)
    assert len(whole) == 6
    first = processes(saved_on)
    assert train(first, update_freq, updates) == whole[:updates]
    second = processes(goes_on_on)
    for iterator in second:
        iterator.load_state_dict(first[0].state_dict())
    if updates < 6:
        assert train(second, goes_on_freq) == whole[updates:]
    assert [iterator.next_epoch_idx for iterator in second] == [2] * goes_on_on


def test_with_batches_of_half_the_size_the_same_share_of_the_epoch_is_left():
    first, second = processes(2), processes(2, batch_size=1)
    train(first, 2, updates=4)
    for iterator in second:
        iterator.load_state_dict(first[0].state_dict())
    assert len(train(second, 4)) == 2


def test_a_state_of_fairseqs_own_iterator_is_taken_as_it_is():
    first, second = processes(2, kind=EpochBatchIterator), processes(2)
    train(first, 2, updates=4)
    for iterator in second:
        iterator.load_state_dict(first[0].state_dict())
    assert second[0].iterations_in_epoch == 8


# The batches of an epoch


class Shuffled(Sentences):
    """48 numbers in a new order at each call, as fairseq's data sets do."""

    can_reuse_epoch_itr_across_epochs = True

    def ordered_indices(self):
        return numpy.random.permutation(48)

    def num_tokens_vec(self, indices):
        return numpy.ones(len(indices), dtype=numpy.int64)


def epochs(task, dataset, numbers, grows, **options):
    """Return the batches of each epoch in the order in which a run takes them that starts in the first of ``numbers``.

    As fairseq's trainer asks for them; ``grows`` is --update-ordered-indices-seed.
    """
    found = []
    for epoch in numbers:
        iterator = task.get_batch_iterator(
            dataset, max_sentences=4, seed=7 + epoch if grows else 7, epoch=epoch, **options
        )
        found.append([batch.tolist() for batch in iterator.next_epoch_itr(shuffle=True)])
    return found


HOW = [
    dict(zip(("disable_iterator_cache", "update_epoch_batch_itr"), on, strict=True))
    for on in product([False, True], repeat=2)
]


@pytest.mark.parametrize("name", ["rdrop_translation", "rdrop_language_modeling"])
@pytest.mark.parametrize("grows", [False, True])
@pytest.mark.parametrize("can_reuse", [False, True])
@pytest.mark.parametrize("options", HOW, ids=str)
def test_a_run_that_resumes_in_a_later_epoch_takes_the_batches_of_an_uninterrupted_one(name, grows, can_reuse, options):
    def run(numbers, name=name):
        dataset = Shuffled()
        dataset.can_reuse_epoch_itr_across_epochs = can_reuse
        own = {"update_ordered_indices_seed": grows} if name.startswith("rdrop_") else {}
        return epochs(build_task(name, **own), dataset, numbers, grows, **options)

    whole = run([1, 2, 3])
    assert all(first != second for first, second in pairwise(whole))
    for start in (2, 3):
        assert run(range(start, 4)) == whole[start - 1 :]
    assert whole == run([1, 2, 3], name.removeprefix("rdrop_"))  # which are fairseq's
