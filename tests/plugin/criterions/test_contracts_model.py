"""Contracts of every R-Drop criterion: decisions for each model, what is said, rates, half precision."""

import logging

import pytest
import torch
from support.contracts import rates
from support.helpers import (
    train,
)

from rdrop_fairseq import watch
from rdrop_fairseq.criterions import rdrop_criterion, rdrop_token_criterion

# What is decided once, and what is said


def test_what_depends_on_the_model_is_decided_once_for_each(setup, monkeypatch, caplog):
    """Also where a task trains several in turn, as multilingual_translation does."""
    decided = []

    def counted(module, name):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda model: decided.append(name) or function(model))

    counted(rdrop_criterion, "needs_separate_forwards")
    counted(rdrop_token_criterion, "has_adaptive_softmax")
    criterion, sample = setup.criterion(), setup.sample()
    with caplog.at_level(logging.INFO):
        for model in [setup.model(), setup.model()] * 3:
            train(criterion, model, sample)
    assert sorted(decided) == ["has_adaptive_softmax"] * 2 + ["needs_separate_forwards"] * 2
    assert caplog.text.count("R-Drop loss: ") == 2
    train(criterion, setup.model(), sample)
    assert len(decided) == 6


def test_a_model_that_needs_separate_forwards_after_one_that_does_not(setup):
    criterion, sample = setup.criterion(), setup.sample()
    off = {"dropout": 0.0, "attention_dropout": 0.0, "adaptive_softmax_dropout": 0.0}
    train(criterion, setup.model(**off), sample)
    model = setup.model(**off, decoder_layerdrop=0.5)
    assert max(train(criterion, model, sample, seed).log["kl_loss"] for seed in range(6)) > 1e-3


def test_the_model_does_not_become_a_part_of_the_criterion(setup):
    """fairseq would save it with the criterion, a second time, in every checkpoint."""
    criterion = setup.criterion()
    train(criterion, setup.model(), setup.sample())
    assert not list(criterion.parameters()) and not criterion.state_dict() and not list(criterion.children())


def test_the_log_says_what_loss_and_gradient_are_of(setup, caplog):
    with caplog.at_level(logging.INFO):
        train(setup.criterion(rdrop_passes=3), setup.model(), setup.sample())
    assert "loss and gnorm, which --clip-norm clips, are those of the sum over 3 passes plus" in caplog.text
    with caplog.at_level(logging.INFO):
        train(setup.criterion(rdrop_pass_weights="1,0.5"), setup.model(), setup.sample())
    assert "the sum over 2 passes (with the weights 1, 0.5) plus" in caplog.text


NO_EFFECT = "R-Drop has no effect here"


def trained_without_dropout(setup, batches, **settings):
    model, criterion = setup.model(dropout=0.0), setup.criterion(**settings)
    for _ in range(batches):
        train(criterion, model, setup.sample())


@pytest.mark.parametrize("batches", [1, 3])
def test_no_dropout_gets_a_warning_at_the_first_batch_and_no_other(setup, caplog, batches):
    trained_without_dropout(setup, batches)
    assert caplog.text.count(NO_EFFECT) == 1 and "--dropout" in caplog.text


@pytest.mark.parametrize("batches, warnings", [(3, 0), (4, 1), (9, 1)])
def test_dropout_that_does_nothing_gets_it_after_some_batches(setup, caplog, monkeypatch, batches, warnings):
    monkeypatch.setattr(rdrop_criterion, "is_random", lambda model: True)
    monkeypatch.setattr(watch, "WATCHED_BATCHES", 4)
    trained_without_dropout(setup, batches)
    assert caplog.text.count(NO_EFFECT) == warnings


@pytest.mark.parametrize("case", ["dropout", "alpha 0", "another rank", "one pass differs"])
def test_no_warning_where_there_is_an_effect_or_no_rdrop_or_on_the_other_processes(setup, caplog, monkeypatch, case):
    monkeypatch.setattr(watch, "WATCHED_BATCHES", 2)
    if case == "dropout":
        model, criterion = setup.model(), setup.criterion()
        for _ in range(3):
            train(criterion, model, setup.sample())
    elif case == "alpha 0":
        trained_without_dropout(setup, 3, rdrop_alpha=0.0)
    elif case == "another rank":
        monkeypatch.setattr(rdrop_criterion, "get_global_rank", lambda: 1)
        trained_without_dropout(setup, 3)
    else:  # in a way that is_random does not know
        monkeypatch.setattr(rdrop_criterion, "is_random", lambda model: False)
        train(setup.criterion(), setup.model(), setup.sample())
    assert NO_EFFECT not in caplog.text


# Dropout rates


def test_dropouts_are_those_of_two_models(setup, float64):
    """Pass i of --rdrop-dropouts P1,P2 is a forward of the same weights in a model configured with P_i."""
    model, sample = setup.model(dropout=0.2, attention_dropout=0.2).double(), setup.sample()
    actual = train(setup.criterion(rdrop_dropouts="0.1,0.45"), model, sample)
    configured = [setup.model(dropout=rate, attention_dropout=rate).double().train() for rate in (0.1, 0.45)]
    for one in configured:
        one.load_state_dict(model.state_dict())
    torch.manual_seed(1)
    outputs = [one(**sample["net_input"])[0] for one in configured]
    expected = setup.reference(configured, outputs, sample["target"], 5.0)
    torch.testing.assert_close(actual.loss, expected.loss.detach())


def test_dropouts_are_restored(setup, monkeypatch):
    model, sample = setup.model(), setup.sample()
    criterion = setup.criterion(rdrop_dropouts="0.1,0.45")
    before = rates(model)
    train(criterion, model, sample)
    assert rates(model) == before and set(before.values()) == {0.0, 0.3}

    seen = []

    def fails(*args, **kwargs):
        seen.append(rates(model))
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model, "forward", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(criterion, model, sample)
    assert rates(model) == before and set(seen[0].values()) == {0.0, 0.1}


def test_under_autocast(setup):
    if "adaptive_input" in setup.case.model:
        pytest.skip("fairseq's adaptive input does not run under autocast")
    model, sample = setup.model(), setup.sample()
    exact = train(setup.criterion(), model, sample)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = train(setup.criterion(), model, sample)
    assert half.loss.dtype == torch.float32
    assert not torch.equal(half.loss, exact.loss)  # autocast was on
    torch.testing.assert_close(half.loss, exact.loss, rtol=0.05, atol=0)
    assert all(grad.isfinite().all() for grad in half.grads.values())


def test_in_bfloat16(setup):
    model, sample = setup.model(), setup.sample()
    exact = train(setup.criterion(), model, sample)
    half = train(setup.criterion(), model.bfloat16(), sample)
    assert half.loss.dtype == torch.float32
    torch.testing.assert_close(half.loss, exact.loss, rtol=0.05, atol=0)
    assert all(grad.isfinite().all() for grad in half.grads.values())
