"""Contracts of every R-Drop criterion: the batch stays as it is, and padding contributes nothing."""

import copy
import math

import pytest
import torch
from support.contracts import evaluate
from support.helpers import (
    PAD,
    assert_grads_close,
    assert_same_tree,
    reduced,
    train,
)

# The sample


@pytest.mark.parametrize("settings", [{}, {"rdrop_alpha": 0.0}, {"rdrop_dropouts": "0.1,0.4"}, {"rdrop_passes": 3}])
@pytest.mark.parametrize("step", [train, evaluate])
def test_the_sample_is_unchanged(setup, settings, step):
    model, sample = setup.model(), setup.sample()
    before = copy.deepcopy(sample)
    tensors = [id(tensor) for tensor in sample["net_input"].values()]
    step(setup.criterion(**settings), model, sample)
    assert_same_tree(sample, before)
    assert [id(tensor) for tensor in sample["net_input"].values()] == tensors


def test_the_same_batch_again_gives_the_same(setup):
    """As in fairseq's re-run after a NaN, and its retries under AMP."""
    model, sample, criterion = setup.model(), setup.sample(), setup.criterion()
    first, second = train(criterion, model, sample), train(criterion, model, sample)
    assert torch.equal(first.loss, second.loss)
    assert_same_tree(first.grads, second.grads)


def test_padding_contributes_nothing(setup):
    """What stands at the padding of the target side's input changes neither loss nor gradient."""
    model, sample, criterion = setup.model(), setup.sample("five"), setup.criterion()
    before = train(criterion, model, sample)
    padding = sample["target"].eq(PAD)
    assert padding.sum() > 3
    junk = copy.deepcopy(sample)
    tokens = "prev_output_tokens" if "prev_output_tokens" in junk["net_input"] else "src_tokens"
    junk["net_input"][tokens][padding] = 5
    after = train(criterion, model, junk)
    torch.testing.assert_close(after.loss, before.loss)
    torch.testing.assert_close(after.log["kl_loss"], before.log["kl_loss"])
    assert_grads_close(after.grads, before.grads)


@pytest.mark.parametrize("bad", [math.nan, -math.inf, math.inf])
@pytest.mark.parametrize("passes", [(0, 1), (0,), (1,)], ids=["in both passes", "in the first", "in the second"])
@pytest.mark.parametrize("reduce", [True, False])
def test_what_the_model_gives_at_padding_reaches_nothing(setup, bad, passes, reduce):
    """Of its features or logits, whichever the criterion takes; also where the padding of one pass alone is bad."""
    model, sample, criterion = setup.model(), setup.sample("five"), setup.criterion()

    def step():
        model.train()
        model.zero_grad()
        torch.manual_seed(1)
        loss, _, log = criterion(model, sample, reduce=reduce)
        loss.sum().backward()
        return loss.detach(), log, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    before = step()
    padding = sample["target"].eq(PAD)
    hit = torch.cat([padding if i in passes else torch.zeros_like(padding) for i in (0, 1)]).unsqueeze(-1)
    model.decoder.register_forward_hook(lambda module, inputs, output: (output[0].where(~hit, bad), *output[1:]))
    after = step()
    assert_same_tree(after, before)


def test_a_target_that_is_all_padding(setup):
    model, sample = setup.model(), setup.sample()
    sample["target"] = torch.full_like(sample["target"], PAD)
    sample["ntokens"] = 0
    step = train(setup.criterion(), model, sample)
    assert step.loss == 0 and step.sample_size == 0 and step.log["kl_loss"] == 0
    assert step.grads and not any(grad.any() for grad in step.grads.values())
    shown = reduced(setup.criterion(), [step.log])  # a batch of no tokens divides by nothing of R-Drop's
    assert (shown["kl_loss"], shown["rdrop_alpha"]) == (0, 0)


def test_a_sentence_that_is_all_padding_changes_nothing(setup, float64):
    """The loss of a batch is that of its sentences: here without dropout, whose draws depend on the batch's shape."""
    model, criterion = setup.model(dropout=0.0).double(), setup.criterion()
    sample = setup.sample()
    alone = train(criterion, model, sample)
    padded = copy.deepcopy(sample)
    net_input = padded["net_input"]
    padded["net_input"] = {name: torch.cat([tensor, tensor[-1:]]) for name, tensor in net_input.items()}
    padded["target"] = torch.cat([sample["target"], torch.full_like(sample["target"][:1], PAD)])
    step = train(criterion, model, padded)
    torch.testing.assert_close(step.loss, alone.loss)
    assert_grads_close(step.grads, alone.grads)
