"""What is cut: never what must stay, as often as the probability says, in spans and in features."""

import pytest
import torch

from rdrop_fairseq.cutoff import Cutoff, features_to_cut, positions_to_cut

BOS, PAD, EOS, UNK = range(4)
KEPT = {BOS, PAD, EOS}


def cut_of(probability, unit="token"):
    return Cutoff(probability, unit, "zero", "both", (1,))


def sentences(*lengths, columns=40):
    """Sentences of word 5, eos at their end, padding on the left, as fairseq's sources."""
    tokens = torch.full((len(lengths), columns), PAD)
    for row, length in zip(tokens, lengths, strict=True):
        row[columns - length - 1 :] = 5
        row[-1] = EOS
    return tokens


@pytest.mark.parametrize("unit", ["token", "span"])
@pytest.mark.parametrize("first", [1, 0, 3])
def test_what_must_stay_is_never_cut(unit, first):
    torch.manual_seed(0)
    tokens = torch.randint(0, 9, (300, 12))
    cut = positions_to_cut(tokens, KEPT, first, cut_of(0.999, unit))
    may = tokens > EOS
    may[:, :first] = False
    assert not cut[~may].any() and cut[may].float().mean() > 0.99
    assert cut[tokens == UNK].any()
    assert not positions_to_cut(tokens, {*KEPT, UNK}, first, cut_of(0.999, unit))[tokens == UNK].any()


@pytest.mark.parametrize("unit", ["token", "span"])
@pytest.mark.parametrize("probability", [0.05, 0.3])
def test_as_often_as_the_probability_says(unit, probability):
    torch.manual_seed(0)
    tokens = sentences(*[39, 20, 12, 7, 3] * 1000)
    cut = positions_to_cut(tokens, KEPT, 0, cut_of(probability, unit))
    for length in (39, 20, 12, 7, 3):
        of_length = cut[tokens.gt(EOS).sum(1) == length].sum() / (1000 * length)
        assert of_length.item() == pytest.approx(probability, rel=0.15)


def runs(row):
    """Return the lengths of the runs of positions that are cut."""
    values, lengths = row.long().unique_consecutive(return_counts=True)
    return lengths[values == 1].tolist()


def test_spans_are_as_long_as_in_cutoff():
    """min(Geometric(0.2) + 1, 10): from 2 to 10, of mean 1 + (1 - 0.8^9) / 0.2; those at the end may be shorter."""
    torch.manual_seed(0)
    cut = positions_to_cut(torch.full((4000, 200), 5), KEPT, 0, cut_of(0.002, "span"))
    lengths = [length for row in cut if not row[-10:].any() for length in runs(row)]
    assert len(lengths) > 200 and max(lengths) >= 10 and min(lengths) == 2
    assert sum(length <= 10 for length in lengths) > 0.97 * len(lengths)  # two neighbours may both be cut
    assert sum(lengths) / len(lengths) == pytest.approx(1 + (1 - 0.8**9) / 0.2, rel=0.15)


def test_a_short_sentence_has_five_spans_of_one_length():
    torch.manual_seed(0)
    cut = positions_to_cut(torch.full((2000, 5), 5), KEPT, 0, cut_of(0.2, "span"))
    assert {tuple(row) for row in cut.tolist()} >= {tuple(i == j for j in range(5)) for i in range(5)}
    ten = positions_to_cut(torch.full((2000, 10), 5), KEPT, 0, cut_of(0.2, "span"))
    in_pairs = (ten[:, ::2] == ten[:, 1::2]).all(1)
    assert in_pairs.float().mean() > 0.5  # at lengths of about 6 most sentences of ten words have fewer than five spans


def test_features_are_the_same_number_in_each_sentence_and_differ_between_them():
    torch.manual_seed(0)
    cut = features_to_cut(500, 64, 0.1, torch.device("cpu"))
    assert cut.shape == (500, 1, 64) and (cut.sum(-1) == 6).all()
    assert cut.sum(0).min() > 20  # each dimension in its turn
    assert (features_to_cut(3, 8, 0.01, torch.device("cpu")).sum(-1) == 1).all()


@pytest.mark.parametrize("unit", ["token", "span"])
def test_drawn_from_torchs_generator(unit):
    tokens = sentences(30, 20)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(positions_to_cut(tokens, KEPT, 1, cut_of(0.5, unit)))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("unit", ["token", "span"])
def test_nothing_to_cut(unit):
    for tokens in (torch.full((2, 3), PAD), torch.full((2, 1), EOS), torch.zeros(0, 4, dtype=torch.long)):
        assert not positions_to_cut(tokens, KEPT, 1, cut_of(0.9, unit)).any()
