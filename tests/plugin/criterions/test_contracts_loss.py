"""Contracts of every R-Drop criterion: the loss, its gradient, and what is logged."""

import pytest
import torch
from fairseq.logging import metrics
from support.contracts import SHAPES
from support.helpers import (
    PAD,
    bits,
    copies,
    reduced,
    train,
)

# The loss, its gradient, and what is logged


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "kind, passes, alpha",
    [("symmetric", 2, 5.0), ("symmetric", 3, 0.7), ("forward", 2, 1.0), ("reverse", 3, 1.0), ("js", 2, 100.0)],
)
def test_loss_gradient_and_log_equal_the_reference(setup, float64, shape, kind, passes, alpha):
    model, sample = setup.model().double(), setup.sample(shape)
    criterion = setup.criterion(rdrop_alpha=alpha, rdrop_passes=passes, rdrop_divergence=kind)
    actual = train(criterion, model, sample)

    model.zero_grad()
    torch.manual_seed(1)
    outputs = model(**copies(sample["net_input"], passes))[0].chunk(passes)
    expected = setup.reference([model] * passes, outputs, sample["target"], alpha, kind)
    expected.loss.backward()
    torch.testing.assert_close(actual.loss, expected.loss.detach())
    parameters = dict(model.named_parameters())
    assert actual.grads.keys() >= {name for name, p in parameters.items() if p.grad is not None}
    for name, grad in actual.grads.items():
        found = parameters[name].grad
        torch.testing.assert_close(grad, torch.zeros_like(grad) if found is None else found)

    assert expected.kl_loss > 1e-3  # dropout is on, so there is something to compare
    torch.testing.assert_close(actual.log["loss"], expected.loss.detach())
    torch.testing.assert_close(actual.log["kl_loss"], expected.kl_loss.detach())
    assert actual.sample_size == actual.log["sample_size"] == sample["ntokens"]  # of one copy
    assert actual.log["ntokens"] == actual.log["kl_count"] == sample["ntokens"]
    assert actual.log["nsentences"] == len(sample["target"])
    torch.testing.assert_close(actual.log["nll_loss"], expected.nll_loss.detach())
    shown = reduced(criterion, [actual.log])
    tokens = sample["ntokens"]
    assert shown["loss"] == pytest.approx(bits(expected.loss) / tokens, abs=1e-3)
    assert shown["nll_loss"] == pytest.approx(bits(expected.nll_loss) / tokens, abs=1e-3)
    assert shown["ppl"] == pytest.approx(2 ** (bits(expected.nll_loss) / tokens), abs=1e-2)
    assert shown["kl_loss"] == pytest.approx(bits(expected.kl_loss) / tokens, abs=1e-4)
    assert shown["rdrop_alpha"] == pytest.approx(alpha)


def test_metrics_of_several_batches(setup):
    """kl_loss weighs every token once, alpha stands as it is; as a list and summed over the processes."""
    model, criterion = setup.model(), setup.criterion(rdrop_alpha=3.0)
    assert criterion.logging_outputs_can_be_summed()
    logs = [train(criterion, model, setup.sample(shape)).log for shape in SHAPES]
    shown = reduced(criterion, logs)
    tokens = sum(log["ntokens"] for log in logs)
    assert shown["kl_loss"] == pytest.approx(bits(sum(log["kl_loss"] for log in logs)) / tokens, abs=1e-4)
    assert shown["rdrop_alpha"] == 3.0
    summed = {key: sum(log[key] for log in logs) for key in logs[0]}
    assert reduced(criterion, [summed]) == pytest.approx(shown, abs=2e-3)


def test_metrics_of_an_interval_with_every_k(setup):
    """Updates without R-Drop log the same keys, count nothing to kl_loss, and show alpha 0 at their turn."""
    model, sample = setup.model(), setup.sample()
    criterion = setup.criterion(rdrop_alpha=3.0, rdrop_every=2)
    logs = []
    with metrics.aggregate(new_root=True) as interval:
        for num_updates in range(5):
            criterion.num_updates = num_updates
            logs.append(train(criterion, model, sample, seed=num_updates).log)
            type(criterion).reduce_metrics([logs[-1]])
            alpha = [0, 3, 0, 3, 0][num_updates]
            assert interval.get_smoothed_value("rdrop_alpha") == alpha
            assert bool(logs[-1]["kl_loss"]) == bool(alpha)
    assert len({frozenset(log) for log in logs}) == 1
    expected = bits(logs[1]["kl_loss"] + logs[3]["kl_loss"]) / (2 * sample["ntokens"])
    assert interval.get_smoothed_value("kl_loss") == pytest.approx(expected, abs=1e-4)


def test_warm_up_reaches_the_loss(setup):
    model, sample = setup.model(), setup.sample()
    criterion = setup.criterion(rdrop_alpha=4.0, rdrop_warmup_updates=4)
    steps = []
    for criterion.num_updates in (1, 2, 4, 100):
        steps.append(train(criterion, model, sample))
    kl_loss = steps[0].log["kl_loss"]
    assert [reduced(criterion, [step.log])["rdrop_alpha"] for step in steps] == [1, 2, 4, 4]
    for step, alpha in zip(steps[1:], (2, 4, 4), strict=True):
        torch.testing.assert_close(step.loss - steps[0].loss, (alpha - 1) * kl_loss, rtol=1e-4, atol=1e-4)


def test_reduce_off_gives_the_loss_of_each_position(setup):
    model, sample = setup.model().train(), setup.sample()
    criterion = setup.criterion()
    torch.manual_seed(1)
    losses, _, log = criterion(model, sample, reduce=False)
    whole = train(criterion, model, sample)
    assert losses.numel() == sample["target"].numel()
    assert not losses.flatten()[sample["target"].flatten() == PAD].any()
    torch.testing.assert_close(losses.sum(), whole.loss)
    for key in ("nll_loss", "kl_loss"):
        if key in log:
            torch.testing.assert_close(log[key].sum(), whole.log[key])


def test_sentence_avg_divides_by_the_sentences_of_one_copy(setup):
    model, sample = setup.model(), setup.sample()
    by_token, by_sentence = (train(setup.criterion(sentence_avg=on), model, sample) for on in (False, True))
    assert by_sentence.sample_size == by_sentence.log["sample_size"] == 3
    assert torch.equal(by_sentence.loss, by_token.loss)
    shown = reduced(setup.criterion(), [by_sentence.log])
    assert shown["loss"] == pytest.approx(bits(by_sentence.loss) / 3, abs=1e-3)
    assert shown["kl_loss"] == pytest.approx(bits(by_sentence.log["kl_loss"]) / sample["ntokens"], abs=1e-4)
    assert shown["rdrop_alpha"] == 5.0
