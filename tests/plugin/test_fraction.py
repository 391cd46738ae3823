"""R-Drop on a part of the batch: the expectation over all draws, exactly, and the draws."""

import itertools

import pytest
import torch

from rdrop_fairseq.fraction import draw_sentences, shares_of

SENTENCES, ALPHA = 4, 0.7


def estimate(losses, divergences, drawn, weights, like):
    """Return the estimate of the module's first lines, from the losses ``[M][B]`` and the divergences ``[B]``."""
    shares = shares_of(weights, like, ALPHA, len(drawn) / SENTENCES)
    total = 0.0
    for b in range(SENTENCES):
        if b in drawn:
            total += sum(weight * losses[i][b] for i, weight in enumerate(shares.drawn)) + shares.alpha * divergences[b]
        else:
            total += shares.rest * losses[0][b]
    return total


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    "weights, like",
    [
        ((1.0, 1.0), (True, True)),
        ((1.0, 0.0), (True, True)),
        ((0.0, 1.0), (True, True)),
        ((1.0, 1.0), (True, False)),
        ((0.5, 2.0), (True, False)),
        ((1.0, 1.0, 1.0), (True, True, True)),
        ((1.0, 0.3, 2.0), (True, True, False)),
    ],
)
def test_the_mean_over_all_draws_is_the_loss_of_the_whole_batch(count, weights, like):
    """Over all subsets, and over all orders of the passes that are alike, as each of their draws is as likely."""
    generator = torch.Generator().manual_seed(1)
    losses = torch.rand(len(weights), SENTENCES, generator=generator).double()
    divergences = torch.rand(SENTENCES, generator=generator).double()
    alike = [i for i, is_like in enumerate(like) if is_like]
    estimates, wholes = [], []
    for order in itertools.permutations(alike):
        passes = list(range(len(weights)))
        for place, source in zip(alike, order, strict=True):
            passes[place] = source
        permuted = losses[passes]
        wholes.append((torch.tensor(weights, dtype=torch.float64) @ permuted).sum() + ALPHA * divergences.sum())
        draws = itertools.combinations(range(SENTENCES), count)
        estimates += [estimate(permuted, divergences, drawn, weights, like) for drawn in draws]
    torch.testing.assert_close(sum(estimates) / len(estimates), sum(wholes) / len(wholes), rtol=1e-12, atol=0)
    if count < SENTENCES and len(weights) == 2:
        assert max(estimates) > 1.001 * min(estimates)  # they differ, so their mean says something


def test_draws():
    torch.manual_seed(0)
    counts = torch.zeros(10)
    for _ in range(2000):
        drawn, rest = draw_sentences(10, 0.3, torch.device("cpu"))
        assert len(drawn) == 3 and sorted(drawn.tolist() + rest.tolist()) == list(range(10))
        assert drawn.tolist() == sorted(drawn.tolist()) and rest.tolist() == sorted(rest.tolist())
        counts[drawn] += 1
    torch.testing.assert_close(counts / 2000, torch.full((10,), 0.3), rtol=0.12, atol=0)


@pytest.mark.parametrize(
    "size, fraction, count", [(1, 0.1, None), (5, 0.01, 1), (7, 0.5, 4), (3, 0.9, None), (0, 0.5, None)]
)
def test_how_many(size, fraction, count):
    before = torch.get_rng_state()
    found = draw_sentences(size, fraction, torch.device("cpu"))
    assert (None if found is None else len(found[0])) == count
    assert torch.equal(before, torch.get_rng_state()) == (count is None)  # where all are taken, nothing is drawn
