"""One test for each fault of the published code for language modeling (github dropreg/R-Drop at 9dcc830)."""

import copy

import pytest
import torch
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.tasks import TASK_REGISTRY
from omegaconf import OmegaConf
from support.configs import CONFIGS
from support.helpers import (
    ADAPTIVE,
    assert_same_tree,
    build_criterion,
    build_model,
    build_task,
    make_sample,
    reduced,
    train,
)

LM = "transformer_lm_big"


def validate(task, criterion, model, sample):
    return task.valid_step(sample, model, criterion)


# The official code for language modeling, where both criterions crash at their first step

LANGUAGE_MODELS = pytest.mark.parametrize(
    "name, model", [("rdrop_cross_entropy", {}), ("rdrop_adaptive_loss", ADAPTIVE)]
)


@pytest.fixture
def lm_task():
    return build_task("rdrop_language_modeling")


@LANGUAGE_MODELS
def test_a_language_models_batch_has_no_prev_output_tokens(lm_task, name, model):
    """Official code: KeyError 'prev_output_tokens' when the batch is repeated."""
    sample = make_sample(lm_task)
    assert sample["net_input"].keys() == {"src_tokens", "src_lengths"}
    before = copy.deepcopy(sample)
    step = train(build_criterion(name, lm_task), build_model(lm_task, LM, **model), sample)
    assert step.loss.isfinite() and step.grads
    assert_same_tree(sample, before)


@LANGUAGE_MODELS
def test_the_loss_of_a_language_model_is_one_number(lm_task, name, model):
    """Official code: ``loss, nll_loss = F.nll_loss(...)`` takes one number apart."""
    model, sample = build_model(lm_task, LM, **model, dropout=0.0), make_sample(lm_task)
    step = train(build_criterion(name, lm_task), model, sample)
    parent = train(build_criterion(name.removeprefix("rdrop_"), lm_task), model, sample)
    torch.testing.assert_close(step.loss, 2 * parent.loss.squeeze())
    torch.testing.assert_close(step.log["nll_loss"], parent.loss.squeeze())


@LANGUAGE_MODELS
def test_the_criterion_moves_nothing_to_a_gpu(lm_task, name, model, monkeypatch):
    """Official code: ``.cuda()`` is hard-coded."""

    def cuda(*args, **kwargs):
        raise AssertionError("cuda() was called")

    monkeypatch.setattr(torch.Tensor, "cuda", cuda)
    monkeypatch.setattr(torch.nn.Module, "cuda", cuda)
    train(build_criterion(name, lm_task), build_model(lm_task, LM, **model), make_sample(lm_task))


@LANGUAGE_MODELS
def test_the_weight_of_the_divergence_is_defined_and_used(lm_task, name, model):
    """Official code: ``self.kl_weight`` is undefined."""
    model, sample = build_model(lm_task, LM, **model), make_sample(lm_task)
    one, three = (train(build_criterion(name, lm_task, rdrop_alpha=alpha), model, sample) for alpha in (1.0, 3.0))
    torch.testing.assert_close(three.loss - one.loss, 2 * one.log["kl_loss"], rtol=1e-4, atol=1e-4)
    assert one.log["kl_loss"] > 0.01


@LANGUAGE_MODELS
def test_perplexity_of_a_language_model_is_that_of_one_pass(lm_task, name, model):
    """Official code: the training loss of two copies, divergence included, over the tokens of one; ppl is 2 to that."""
    model, sample = build_model(lm_task, LM, **model, dropout=0.0), make_sample(lm_task)
    criterion, parent = (build_criterion(each, lm_task) for each in (name, name.removeprefix("rdrop_")))
    trained = reduced(criterion, [train(criterion, model, sample).log])
    validated = reduced(parent, [validate(lm_task, parent, model, sample)[2]])
    assert trained["ppl"] == pytest.approx(validated["ppl"], rel=1e-3)


def test_every_config_names_a_task_and_a_criterion_that_exist():
    """Official language-modeling scripts: they name a task that does not exist."""
    assert any("wikitext" in str(path) for path in CONFIGS)
    for path in CONFIGS:
        config = OmegaConf.load(path)
        assert config.task._name in TASK_REGISTRY, path
        assert config.criterion._name in CRITERION_DATACLASS_REGISTRY, path


def test_adaptive_log_probabilities_can_be_differentiated(lm_task):
    """fairseq: ``AdaptiveSoftmax.get_log_prob`` adds in place and cannot be; so cross_entropy cannot train on it."""
    model, sample = build_model(lm_task, LM, **ADAPTIVE), make_sample(lm_task)
    with pytest.raises(RuntimeError, match="inplace operation"):
        train(build_criterion("cross_entropy", lm_task), model, sample)
    for divergence in ("published", "exact"):
        step = train(
            build_criterion("rdrop_adaptive_loss", lm_task, rdrop_adaptive_divergence=divergence), model, sample
        )
        assert step.grads["decoder.adaptive_softmax.tail.1.0.weight"].any()
