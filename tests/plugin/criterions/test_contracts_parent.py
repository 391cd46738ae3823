"""Contracts of every R-Drop criterion: where it is its parent exactly, and a step of fairseq's task."""

import pytest
import torch
from support.contracts import Optimizer, evaluate
from support.helpers import (
    RDROP_KEYS,
    assert_grads_close,
    assert_same_tree,
    reduced,
    train,
)

from rdrop_fairseq.divergence import DIVERGENCES

# Equal to the parent


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rdrop_passes": 3, "rdrop_divergence": "js"},
        {"rdrop_dropouts": "0.1,0.4"},
        {"rdrop_every": 2, "rdrop_warmup_updates": 5},
        {"sentence_avg": True},
    ],
)
def test_evaluation_equals_the_parent_exactly(setup, settings):
    model, sample = setup.model(), setup.sample()
    criterion = setup.criterion(**settings)
    parent = setup.parent(**{key: value for key, value in settings.items() if not key.startswith("rdrop")})
    actual, expected = (evaluate(c, model, sample) for c in (criterion, parent))
    assert_same_tree(actual, expected)
    assert_same_tree(dict(reduced(criterion, [actual[2]] * 2)), dict(reduced(parent, [expected[2]] * 2)))


@pytest.mark.parametrize(
    "settings, num_updates",
    [
        ({"rdrop_alpha": 0.0}, 0),
        ({"rdrop_alpha": 0.0, "rdrop_passes": 3, "rdrop_dropouts": "0.1,0.2,0.3"}, 7),
        ({"rdrop_every": 3}, 0),
        ({"rdrop_every": 3}, 4),
        ({"rdrop_warmup_updates": 10}, 0),
    ],
)
def test_alpha_zero_equals_the_parent_exactly_in_training(setup, settings, num_updates):
    model, sample = setup.model(), setup.sample()
    criterion = setup.criterion(**settings)
    criterion.num_updates = num_updates
    actual, expected = train(criterion, model, sample), train(setup.parent(), model, sample)
    assert torch.equal(actual.loss, expected.loss)
    assert actual.sample_size == expected.sample_size
    assert_same_tree(actual.grads, expected.grads)
    assert torch.equal(actual.rng_state, expected.rng_state)  # as much dropout was drawn, no more
    assert actual.log.keys() == expected.log.keys() | RDROP_KEYS | {"nll_loss"}
    assert torch.equal(actual.log["nll_loss"], expected.log.get("nll_loss", expected.log["loss"]))
    assert_same_tree({key: actual.log[key] for key in expected.log}, expected.log)
    assert not any(actual.log[key] for key in RDROP_KEYS)


@pytest.mark.parametrize("passes", [2, 3])
@pytest.mark.parametrize("kind", DIVERGENCES)
def test_without_dropout_the_divergence_is_zero(setup, float64, passes, kind):
    model, sample = setup.model(dropout=0.0).double(), setup.sample()
    actual = train(setup.criterion(rdrop_passes=passes, rdrop_divergence=kind), model, sample)
    expected = train(setup.parent(), model, sample)
    assert abs(actual.log["kl_loss"]) < 1e-12
    torch.testing.assert_close(actual.loss, passes * expected.loss.squeeze())
    assert_grads_close(actual.grads, {name: passes * grad for name, grad in expected.grads.items()})


@pytest.mark.parametrize("settings", [{}, {"rdrop_alpha": 0.0}, {"rdrop_dropouts": "0.1,0.4"}])
def test_a_dummy_batch_gives_gradients_of_zero(setup, settings):
    model, sample, criterion = setup.model(), setup.sample(), setup.criterion(**settings)
    real = train(criterion, model, sample)
    model.zero_grad()
    optimizer = Optimizer()
    loss, _, log = setup.task.train_step(sample, model, criterion, optimizer, 3, ignore_grad=True)
    assert loss == 0 and optimizer.backwards == 1
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert grads.keys() == real.grads.keys() and not any(grad.any() for grad in grads.values())
    assert log.keys() == real.log.keys()  # the processes that have a batch log the same


def test_the_task_tells_the_update(setup):
    model, sample, optimizer = setup.model(), setup.sample(), Optimizer()
    criterion = setup.criterion(rdrop_every=3)
    alphas = []
    for update_num in (0, 1, 2, 3, 4, 5):
        _, _, log = setup.task.train_step(sample, model, criterion, optimizer, update_num)
        alphas.append(reduced(criterion, [log])["rdrop_alpha"])
    assert alphas == [0, 0, 5, 0, 0, 5]
    assert optimizer.backwards == 6


def test_a_training_step_is_that_of_the_criterion(setup):
    model, sample, criterion = setup.model(), setup.sample(), setup.criterion()
    expected = train(criterion, model, sample)
    model.zero_grad()
    model.eval()  # the task sets the mode
    torch.manual_seed(1)
    loss, sample_size, _ = setup.task.train_step(sample, model, criterion, Optimizer(), 0)
    assert torch.equal(loss, expected.loss) and sample_size == expected.sample_size
    assert_same_tree({name: p.grad for name, p in model.named_parameters()}, expected.grads)


def test_valid_step_of_the_task_equals_the_parents(setup):
    model, sample = setup.model(), setup.sample()
    actual, expected = (setup.task.valid_step(sample, model, c) for c in (setup.criterion(), setup.parent()))
    assert_same_tree(actual, expected)
