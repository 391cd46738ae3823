"""An epoch taken up on another number of processes, or with batches of another size, goes on where it was left."""

import pytest
from fairseq.data import FairseqDataset
from fairseq.data.iterators import EpochBatchIterator, GroupedIterator

from rdrop_fairseq.tasks.shared_epoch_iterator import SharedEpochIterator


class Sentences(FairseqDataset):
    """48 numbers."""

    def __len__(self):
        return 48

    def __getitem__(self, index):
        return index


def processes(number, batch_size=2, kind=SharedEpochIterator):
    """The iterators of so many processes over the same batches."""
    sentences = Sentences()
    batches = [list(range(i, i + batch_size)) for i in range(0, len(sentences), batch_size)]
    return [
        kind(sentences, collate_fn=list, batch_sampler=batches, seed=1, num_shards=number, shard_id=shard)
        for shard in range(number)
    ]


def train(iterators, update_freq, updates=None):
    """The sentences of each update, all processes together, until ``updates`` or the end of the epoch."""
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
