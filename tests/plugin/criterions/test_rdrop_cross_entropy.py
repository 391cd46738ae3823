"""What is the cross-entropy criterion's own: its loss, its metrics, and the models that it is for."""

import logging

import pytest
import torch
from reference import rdrop
from support.helpers import (
    ADAPTIVE,
    PAD,
    LogitsModel,
    bits,
    build_criterion,
    build_model,
    build_task,
    make_sample,
    random_logits,
    reduced,
    train,
)

from rdrop_fairseq.compat.output_projection import output_projection
from rdrop_fairseq.divergence import DIVERGENCES

NAME, LM = "rdrop_cross_entropy", "transformer_lm_big"


@pytest.fixture
def task():
    return build_task("rdrop_language_modeling")


def batch_for(target):
    """Return a language model's batch: ``net_input`` has no ``prev_output_tokens``."""
    target = torch.tensor(target)
    lengths = target.ne(PAD).sum(1)
    net_input = {"src_tokens": target.roll(1, 1), "src_lengths": lengths}
    return {"net_input": net_input, "target": target, "ntokens": int(lengths.sum()), "nsentences": len(target)}


TARGET = [[2, 0, 3], [3, 2, PAD]]


def test_numbers_by_hand(task):
    # p1 = (1/2, 1/4, 1/8, 1/8), p2 = (1/4, 1/2, 1/8, 1/8), target 0: 1 bit and 2 bits. The divergence is 1/4 bit:
    # KL(p1 || p2) = 1/2 * 1 - 1/4 * 1 = KL(p2 || p1). Loss: 1 + 2 + 4 * 1/4 = 4.
    probs = torch.tensor([[[1 / 2, 1 / 4, 1 / 8, 1 / 8]], [[1 / 4, 1 / 2, 1 / 8, 1 / 8]]])
    criterion = build_criterion(NAME, task, rdrop_alpha=4.0)
    step = train(criterion, LogitsModel(probs.log()), batch_for([[0]]))
    assert bits(step.loss) == pytest.approx(4)
    assert bits(step.log["nll_loss"]) == pytest.approx(1.5)
    assert bits(step.log["kl_loss"]) == pytest.approx(1 / 4)
    shown = reduced(criterion, [step.log])
    assert (shown["loss"], shown["nll_loss"], shown["kl_loss"]) == pytest.approx((4, 1.5, 0.25))
    assert shown["ppl"] == pytest.approx(2**1.5, abs=0.01)  # not 2**4: the parent takes it from the loss


def test_perplexity_with_sentence_avg(task):
    """Where the sample size is not the tokens, the parent takes nll_loss, too, from the loss."""
    logits = random_logits(4, 3, 5)
    criterion = build_criterion(NAME, task, sentence_avg=True, rdrop_alpha=5.0)
    step = train(criterion, LogitsModel(logits), batch_for(TARGET))
    assert step.sample_size == 2
    expected = rdrop(torch.stack(logits.chunk(2)), torch.tensor(TARGET), 5.0)
    shown = reduced(criterion, [step.log])
    assert shown["nll_loss"] == pytest.approx(bits(expected.nll_loss) / 5, abs=1e-3)
    assert shown["ppl"] == pytest.approx(2 ** (bits(expected.nll_loss) / 5), abs=0.01)
    assert shown["loss"] == pytest.approx(bits(expected.loss) / 2, abs=1e-3)


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("passes", [2, 4])
def test_value_and_gradient_by_the_logits(task, kind, passes):
    logits, sample = random_logits(passes, 2, 3, 5), batch_for(TARGET)
    settings = {"rdrop_divergence": kind, "rdrop_passes": passes, "rdrop_alpha": 0.7}
    step = train(build_criterion(NAME, task, **settings), LogitsModel(logits.flatten(0, 1)), sample)
    leaf = logits.clone().requires_grad_()
    expected = rdrop(leaf, sample["target"], 0.7, 0.0, kind)
    expected.loss.backward()
    torch.testing.assert_close(step.loss, expected.loss.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(step.log["nll_loss"], expected.nll_loss.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(step.log["kl_loss"], expected.kl_loss.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(step.grads["logits"].view_as(leaf), leaf.grad, rtol=1e-10, atol=1e-14)
    assert not leaf.grad[:, 1, 2].any()  # the padding


@pytest.mark.parametrize("kind", ["symmetric", "js"])
def test_gradcheck(task, kind):
    criterion = build_criterion(NAME, task, rdrop_divergence=kind)

    def loss(logits):
        model = LogitsModel(logits).train()
        model._parameters["logits"] = logits  # the tensor of gradcheck's graph in the parameter's place
        return criterion(model, batch_for(TARGET))[0]

    assert torch.autograd.gradcheck(loss, random_logits(4, 3, 5).requires_grad_())


@pytest.mark.parametrize("share", [True, False])
def test_a_language_models_projection_is_fused(task, caplog, share):
    model = build_model(task, LM, share_decoder_input_output_embed=share)
    assert output_projection(model) is model.decoder.output_projection
    with caplog.at_level(logging.INFO):
        train(build_criterion(NAME, task), model, make_sample(task))
    assert "R-Drop loss: fused" in caplog.text


# What the batches of language models hold


@pytest.mark.parametrize("loss", ["fused", "plain"])
@pytest.mark.parametrize("padded", [False, True])
def test_a_batch_that_is_padded_to_a_fixed_size(task, loss, padded):
    """--pad-to-fixed-bsz: more rows in src_tokens and target than in src_lengths."""
    model, sample = build_model(task, LM, dropout=0.0), make_sample(task)
    alone = train(build_criterion(NAME, task, rdrop_loss=loss), model, sample)
    if padded:
        rows = torch.full((2, sample["target"].size(1)), PAD)
        rows[:, 0] = 2  # fairseq's attention gives NaN for a row of padding alone, whatever the criterion
        sample["net_input"]["src_tokens"] = torch.cat([sample["net_input"]["src_tokens"], rows])
        sample["target"] = torch.cat([sample["target"], torch.full_like(rows, PAD)])
    step = train(build_criterion(NAME, task, rdrop_loss=loss), model, sample)
    torch.testing.assert_close(step.loss, alone.loss)
    assert step.sample_size == alone.sample_size


@pytest.mark.parametrize("loss", ["fused", "plain"])
def test_other_targets_than_the_next_word(task, loss):
    """--self-target and --past-target, for a model that predicts them: the target is what the batch says."""
    model, sample = build_model(task, LM, dropout=0.0), make_sample(task)
    for shift in (0, -1):
        sample["target"] = sample["net_input"]["src_tokens"].roll(shift, 1)
        step = train(build_criterion(NAME, task, rdrop_loss=loss), model, sample)
        parent = train(build_criterion("cross_entropy", task), model, sample)
        torch.testing.assert_close(step.loss, 2 * parent.loss)


# The other output layer


def test_adaptive_softmax_is_refused_when_the_criterion_is_built(task):
    task.model_to_train = build_model(task, LM, **ADAPTIVE)
    with pytest.raises(SystemExit) as stopped:
        build_criterion(NAME, task)
    line = stopped.value.code
    assert "\n" not in line and "--criterion rdrop_cross_entropy: the model has adaptive softmax" in line
    assert "must be rdrop_adaptive_loss" in line
    build_criterion(NAME, task)  # a criterion that is built later is not for that model


def test_adaptive_softmax_is_refused_at_the_first_step_of_a_stock_task():
    task = build_task("language_modeling")
    model, sample = build_model(task, LM, **ADAPTIVE), make_sample(task)
    for settings in ({}, {"rdrop_alpha": 0.0}, {"rdrop_loss": "plain"}):
        with pytest.raises(SystemExit, match="must be rdrop_adaptive_loss"):
            train(build_criterion(NAME, task, **settings), model, sample)


def test_so_does_translation():
    task = build_task()
    model = build_model(task, adaptive_softmax_cutoff="6,9")
    with pytest.raises(SystemExit, match="rdrop_label_smoothed_cross_entropy: the model has adaptive softmax"):
        train(build_criterion("rdrop_label_smoothed_cross_entropy", task), model, make_sample(task))


def test_a_loss_without_a_fused_form_is_not_fused(task, caplog, monkeypatch):
    criterion = build_criterion(NAME, task)
    monkeypatch.setattr(type(criterion), "is_cross_entropy", False)
    with caplog.at_level(logging.INFO):
        train(criterion, build_model(task, LM), make_sample(task))
    assert "R-Drop loss: plain (this loss has no fused form)" in caplog.text
    with pytest.raises(SystemExit, match="--rdrop-loss fused: not possible here"):
        train(build_criterion(NAME, task, rdrop_loss="fused"), build_model(task, LM), make_sample(task))
