"""The flow of one update without any tokens, by the criterion over sentences."""

import logging
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.models import BaseFairseqModel
from fairseq.tasks.fairseq_task import FairseqTask
from reference import divergence
from support.contracts import Optimizer
from support.helpers import assert_grads_close, assert_same_tree, bits, build_criterion, reduced, train
from torch import nn

from rdrop_fairseq.divergence import DIVERGENCES
from rdrop_fairseq.tasks.rdrop_task import RDropTask, RDropTaskConfig

NAME, PARENT, HEAD = "rdrop_sentence_prediction", "sentence_prediction", "sentence_classification_head"


class Sentences(BaseFairseqModel):
    """Numbers of a sentence to classes, or to one number; what the criterion calls of fairseq's models."""

    def __init__(self, classes, dropout=0.3):
        super().__init__()
        self.classification_heads = {HEAD: None}
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, classes))

    def forward(self, src_tokens, features_only, classification_head_name):
        assert features_only and classification_head_name == HEAD
        return self.layers(src_tokens), None

    def get_targets(self, sample, net_output):
        return sample["target"]


class Task(RDropTask, FairseqTask):
    label_dictionary = target_dictionary = None


@pytest.fixture(params=[3, 1], ids=["classes", "regression"])
def setup(request):
    classes, is_regression = request.param, request.param == 1
    torch.manual_seed(0)
    x = torch.randn(32, 6)
    target = x[:, :1].sin() if is_regression else x[:, :3].argmax(-1, keepdim=True)
    task = Task(RDropTaskConfig())

    def build(name, **settings):
        return build_criterion(name, task, regression_target=is_regression, classification_head_name=HEAD, **settings)

    def model(**settings):
        torch.manual_seed(1)
        return Sentences(classes, **settings)

    sample = {"net_input": {"src_tokens": x}, "target": target, "ntokens": 100}
    return SimpleNamespace(build=build, model=model, sample=sample, is_regression=is_regression, task=task)


@pytest.mark.parametrize("settings", [{"rdrop_alpha": 0.0}, {"rdrop_every": 2}, {"rdrop_warmup_updates": 3}])
def test_without_alpha_and_in_evaluation_it_is_the_parent(setup, settings):
    model = setup.model()
    ours, parent = setup.build(NAME, **settings), setup.build(PARENT)
    actual, expected = train(ours, model, setup.sample), train(parent, model, setup.sample)
    assert torch.equal(actual.loss, expected.loss) and torch.equal(actual.rng_state, expected.rng_state)
    assert_same_tree(actual.grads, expected.grads)
    assert_same_tree({key: actual.log[key] for key in expected.log}, expected.log)
    assert actual.log.keys() - expected.log.keys() == {"kl_loss", "kl_count", "rdrop_alpha"}
    model.eval()
    results = [criterion(model, setup.sample) for criterion in (ours, parent)]
    assert_same_tree(*results)
    assert_same_tree(dict(reduced(ours, [results[0][2]])), dict(reduced(parent, [results[1][2]])))


@pytest.mark.parametrize("passes", [2, 3])
@pytest.mark.parametrize("kind", DIVERGENCES)
def test_the_loss_is_the_sum_over_the_passes_and_the_weighted_divergence(setup, passes, kind):
    model, sample = setup.model(), setup.sample
    if setup.is_regression and kind != "symmetric":
        with pytest.raises(
            SystemExit, match=rf"^error: --rdrop-divergence {kind}: must be symmetric with --regression"
        ):
            setup.build(NAME, rdrop_divergence=kind)
        return
    criterion = setup.build(NAME, rdrop_alpha=0.7, rdrop_passes=passes, rdrop_divergence=kind)
    step = train(criterion, model, sample)
    model.zero_grad()
    torch.manual_seed(1)
    logits = model.layers(sample["net_input"]["src_tokens"].repeat(passes, 1)).unflatten(0, (passes, -1))
    target = sample["target"].view(-1)
    if setup.is_regression:
        task_loss = sum(F.mse_loss(one.squeeze(-1), target, reduction="sum") for one in logits)
        pairs = [(i, j) for i in range(passes) for j in range(i + 1, passes)]
        kl_loss = sum(F.mse_loss(logits[i], logits[j], reduction="sum") for i, j in pairs) / len(pairs)
    else:
        task_loss = sum(F.cross_entropy(one, target, reduction="sum") for one in logits)
        kl_loss = divergence(logits.double().log_softmax(-1), kind).sum().float()
    (task_loss + 0.7 * kl_loss).backward()
    torch.testing.assert_close(step.loss, (task_loss + 0.7 * kl_loss).detach())
    assert_grads_close(step.grads, {name: p.grad for name, p in model.named_parameters()}, rtol=1e-4, atol=1e-4)
    assert step.sample_size == step.log["sample_size"] == step.log["kl_count"] == 32
    shown = reduced(criterion, [step.log, step.log])
    assert shown["kl_loss"] == pytest.approx(bits(kl_loss) / 32, abs=1e-4) and kl_loss > 1e-2
    assert shown["rdrop_alpha"] == pytest.approx(0.7)
    assert shown["loss"] == pytest.approx(bits(step.loss) / 32, abs=1e-3)


def test_without_dropout_the_passes_agree_and_that_is_said(setup, caplog):
    model = setup.model(dropout=0.0)
    actual, expected = (train(setup.build(name), model, setup.sample) for name in (NAME, PARENT))
    torch.testing.assert_close(actual.loss, 2 * expected.loss.float())
    assert_grads_close(actual.grads, {name: 2 * grad for name, grad in expected.grads.items()})
    assert "R-Drop has no effect here" in caplog.text


def test_each_pass_has_its_dropout_rate(setup):
    model = setup.model()
    one = train(setup.build(NAME, rdrop_dropouts="0.0,0.6"), model, setup.sample)
    off = train(setup.build(NAME, rdrop_dropouts="0.0,0.0"), model, setup.sample)
    assert one.log["kl_loss"] > 1e-2 and off.log["kl_loss"].abs() < 1e-6
    with pytest.raises(SystemExit, match=r"^error: --rdrop-dropouts needs a model with dropout"):
        train(setup.build(NAME, rdrop_dropouts="0.1,0.4"), setup.model(dropout=0.0), setup.sample)


def test_a_bad_flag_exits_with_one_line(setup):
    with pytest.raises(SystemExit, match=r"^error: --rdrop-passes 1: must be an integer >= 2$"):
        setup.build(NAME, rdrop_passes=1)


def test_what_is_said_of_the_log_is_said_once(setup, caplog):
    model, criterion = setup.model(), setup.build(NAME)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            train(criterion, model, setup.sample)
    assert caplog.text.count("those of the sum over 2 passes") == 1
    assert "R-Drop loss" not in caplog.text and "ppl" not in caplog.text


def test_it_learns(setup):
    """By an R-Drop task's training steps, whose number its schedule follows."""
    model, criterion = setup.model(), setup.build(NAME, rdrop_alpha=0.5, rdrop_every=2, rdrop_warmup_updates=4)
    adam, losses, alphas = torch.optim.Adam(model.parameters(), 0.02), [], []
    for update in range(120):
        model.zero_grad()
        loss, sample_size, log = setup.task.train_step(setup.sample, model, criterion, Optimizer(), update)
        for parameter in model.parameters():
            parameter.grad /= sample_size
        adam.step()
        losses.append(loss.item())
        alphas.append(log["rdrop_alpha"] / sample_size)
    assert alphas[:8] == [0, 0.125, 0, 0.375, 0, 0.5, 0, 0.5]
    assert losses[-1] < 0.5 * losses[1]
    model.eval()
    output = model.layers(setup.sample["net_input"]["src_tokens"])
    if setup.is_regression:
        assert F.mse_loss(output, setup.sample["target"]) < 0.1 * setup.sample["target"].var()
    else:
        assert output.argmax(-1).eq(setup.sample["target"].view(-1)).float().mean() > 0.9


def test_the_flow_knows_no_tokens():
    for name in ("plain_loss", "fused_loss", "count_tokens", "find_projection", "token_divergence"):
        assert not hasattr(CRITERION_REGISTRY[NAME], name)
