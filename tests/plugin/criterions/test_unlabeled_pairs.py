"""Pairs without labels: they give their divergence alone, as the loops of the reference say, fused or not."""

import pytest
import torch
from reference import rdrop
from support.helpers import (
    PAD,
    LogitsModel,
    assert_grads_close,
    bits,
    build_criterion,
    build_model,
    build_task,
    make_sample,
    reduced,
    train,
)

NAME = "rdrop_label_smoothed_cross_entropy"
SETTINGS = {"label_smoothing": 0.1, "rdrop_alpha": 2.0, "rdrop_unlabeled_alpha": 3.0, "report_accuracy": True}
MIXED, NONE, ALL = [False, True, False], [True] * 3, [False] * 3


@pytest.fixture
def task():
    return build_task(rdrop_unlabeled_subset="mono")


def sample_of(task, unlabeled):
    return {**make_sample(task), "unlabeled": torch.tensor(unlabeled)}


@pytest.mark.parametrize("unlabeled", [MIXED, NONE, ALL])
def test_the_loss_is_that_of_the_loops(task, unlabeled, float64):
    sample, labeled = sample_of(task, unlabeled), ~torch.tensor(unlabeled)
    target = sample["target"]
    torch.manual_seed(3)
    model = LogitsModel(torch.randn(6, *target.shape[1:], len(task.target_dictionary)).double())
    criterion = build_criterion(NAME, task, **SETTINGS, rdrop_loss="plain")
    step = train(criterion, model, sample)
    logits = model.logits.detach().unflatten(0, (2, 3)).requires_grad_()
    with_labels = rdrop(logits[:, labeled], target[labeled], 2.0, 0.1)
    without = rdrop(logits[:, ~labeled], target[~labeled], 2.0, 0.1).kl_loss
    loss = with_labels.loss + 3 * without
    torch.testing.assert_close(step.loss, loss.detach())
    loss.backward()
    torch.testing.assert_close(step.grads["logits"].unflatten(0, (2, 3)), logits.grad)
    assert step.sample_size == step.log["ntokens"] == step.log["kl_count"] == target.ne(PAD).sum()
    torch.testing.assert_close(step.log["nll_loss"], torch.as_tensor(with_labels.nll_loss).detach())
    torch.testing.assert_close(torch.as_tensor(step.log["unlabeled_kl_loss"]).double(), without.detach())
    assert step.log["labeled"] == step.log["total"] == target[labeled].ne(PAD).sum()
    shown = reduced(criterion, [step.log])
    assert shown["nll_loss"] == pytest.approx(bits(with_labels.nll_loss) / max(1, int(step.log["labeled"])), abs=1e-3)


@pytest.mark.parametrize("unlabeled", [MIXED, NONE])
def test_the_fused_loss_is_the_plain_one(task, unlabeled):
    model, sample = build_model(task), sample_of(task, unlabeled)
    fused, plain = (
        train(build_criterion(NAME, task, **SETTINGS, rdrop_loss=kind), model, sample) for kind in ("fused", "plain")
    )
    torch.testing.assert_close(fused.loss, plain.loss)
    assert_grads_close(fused.grads, plain.grads)
    assert fused.log["unlabeled_kl_loss"] > 0 and fused.log["n_correct"] == plain.log["n_correct"]


def test_every_batch_logs_tensors_under_the_same_keys(task):
    """fairseq sums the logs of several processes in two buffers, one of tensors and one of numbers."""
    model, criterion = build_model(task), build_criterion(NAME, task, **SETTINGS)
    logs = [train(criterion, model, sample_of(task, unlabeled)).log for unlabeled in (MIXED, NONE, ALL)]
    kinds = [{key: torch.is_tensor(value) for key, value in log.items()} for log in logs]
    assert kinds[0] == kinds[1] == kinds[2]


def test_a_batch_that_says_nothing_has_labels(task):
    """So it is with a dummy batch of the validation set."""
    model, criterion = build_model(task), build_criterion(NAME, task, **SETTINGS)
    one, other = (train(criterion, model, sample) for sample in (make_sample(task), sample_of(task, ALL)))
    assert torch.equal(one.loss, other.loss) and one.log == other.log


def test_a_value_for_each_token_is_in_the_order_of_the_batch(task):
    model, sample = build_model(task).train(), sample_of(task, MIXED)
    criterion = build_criterion(NAME, task, **SETTINGS, rdrop_loss="plain")
    torch.manual_seed(1)
    by_token = criterion(model, sample, reduce=False)[0].view(3, -1)
    step = train(criterion, model, sample)
    torch.testing.assert_close(by_token.sum().detach(), step.loss)
    assert by_token.eq(0).equal(sample["target"].eq(PAD))


def test_an_update_without_rdrop_is_the_parent_on_what_has_labels(task):
    model, sample = build_model(task), sample_of(task, MIXED)
    step = train(build_criterion(NAME, task, **SETTINGS, rdrop_every=2), model, sample)
    target = sample["target"].clone()
    target[1] = PAD
    parent = build_criterion(NAME.removeprefix("rdrop_"), build_task(), label_smoothing=0.1)
    expected = train(parent, model, {**sample, "target": target})
    assert torch.equal(step.loss, expected.loss) and step.sample_size == expected.sample_size
    assert_grads_close(step.grads, expected.grads)


def test_adaptive_softmax(task):
    model = build_model(task, adaptive_softmax_cutoff="6,8", adaptive_softmax_factor=2)
    sample = sample_of(task, MIXED)
    steps = [
        train(build_criterion("rdrop_adaptive_loss", task, rdrop_unlabeled_alpha=3.0, rdrop_loss=kind), model, sample)
        for kind in ("fused", "plain")
    ]
    torch.testing.assert_close(steps[0].loss, steps[1].loss)
    assert steps[0].log["unlabeled_kl_loss"] > 0


def test_a_fraction_of_the_sentences_is_refused(task):
    with pytest.raises(SystemExit, match=r"^error: --rdrop-fraction 0.5: must be 1 with --rdrop-unlabeled-alpha$"):
        build_criterion(NAME, task, rdrop_unlabeled_alpha=1.0, rdrop_fraction=0.5)


def test_a_task_without_anything_unlabelled_is_refused():
    names = "rdrop_sentence_prediction or rdrop_translation"
    with pytest.raises(SystemExit, match=f"^error: --rdrop-unlabeled-alpha 1.0: must be 0 with a task .*{names}$"):
        build_criterion("rdrop_cross_entropy", build_task("rdrop_language_modeling"), rdrop_unlabeled_alpha=1.0)


@pytest.mark.parametrize(
    "subset, weight, told",
    [
        (None, 1.0, "--rdrop-unlabeled-alpha: must be 0 without --rdrop-unlabeled-subset"),
        ("mono", 0.0, "--rdrop-unlabeled-subset mono: must be left out without --rdrop-unlabeled-alpha above 0"),
    ],
)
def test_pairs_and_their_weight_need_each_other(subset, weight, told):
    with pytest.raises(SystemExit, match=f"^error: {told}$"):
        build_criterion(NAME, build_task(rdrop_unlabeled_subset=subset), rdrop_unlabeled_alpha=weight)
