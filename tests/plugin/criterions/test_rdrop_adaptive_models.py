"""The models that the adaptive criterion takes and refuses, and its flags."""

import logging

import pytest
import torch
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.modules.adaptive_softmax import AdaptiveSoftmax
from support.adaptive import LM, NAME, WAYS, batch_for, random_model
from support.helpers import (
    ADAPTIVE,
    build_criterion,
    build_model,
    build_task,
    make_sample,
    train,
)


@pytest.fixture
def task():
    return build_task("rdrop_language_modeling")


class OwnSoftmax(AdaptiveSoftmax):
    pass


@pytest.mark.parametrize("change", ["hook", "class"])
def test_other_softmaxes_take_the_plain_path(task, caplog, change):
    model, sample = random_model(3), batch_for([11, 6, 2])
    softmax = model.decoder.adaptive_softmax
    expected = train(build_criterion(NAME, task, rdrop_loss="fused"), model, sample)
    if change == "hook":  # as quantization noise does
        softmax.tail[0][2].register_forward_pre_hook(lambda module, inputs: None)
    else:
        softmax.__class__ = OwnSoftmax
    with caplog.at_level(logging.INFO):
        step = train(build_criterion(NAME, task), model, sample)
    torch.testing.assert_close(step.loss, expected.loss)
    assert "R-Drop loss: plain (" in caplog.text
    with pytest.raises(SystemExit, match="--rdrop-loss fused: not possible here"):
        train(build_criterion(NAME, task, rdrop_loss="fused"), model, sample)


@pytest.mark.parametrize("loss, said", [("fused", "fused"), ("exact", "plain (--rdrop-adaptive-divergence exact)")])
def test_the_log_says_which_loss_is_in_use(task, caplog, loss, said):
    with caplog.at_level(logging.INFO):
        train(build_criterion(NAME, task, **WAYS[loss]), random_model(2), batch_for([11, 2]))
    assert f"R-Drop loss: {said}" in caplog.text


def test_translation_with_adaptive_softmax(way):
    task = build_task()
    model = build_model(task, **ADAPTIVE, dropout=0.0)
    sample = make_sample(task)
    step = train(build_criterion(NAME, task, **way), model, sample)
    parent = train(build_criterion("adaptive_loss", task), model, sample)
    torch.testing.assert_close(step.loss, 2 * parent.loss.squeeze())


# Models that look for the name of fairseq's criterion; their tails become narrower by 4, whatever the flag says

ONE_TAIL = {"adaptive_softmax_cutoff": "6"}
BY_NAME = {"lstm": "rdrop_translation", "lstm_lm": "rdrop_language_modeling", "fconv_lm": "rdrop_language_modeling"}


@pytest.mark.parametrize("arch", BY_NAME)
def test_models_that_build_adaptive_softmax_for_fairseqs_criterion_alone(way, arch):
    task = build_task(BY_NAME[arch])
    model = build_model(task, arch, **ONE_TAIL, dropout=0.0, criterion=NAME)
    sample, criterion = make_sample(task), build_criterion(NAME, task, **way)
    step = train(criterion, model, sample)
    parent = train(build_criterion("adaptive_loss", task), model, sample)
    torch.testing.assert_close(step.loss, 2 * parent.loss.squeeze())
    assert train(criterion, build_model(task, arch, **ONE_TAIL, criterion=NAME), sample).log["kl_loss"] > 1e-4


@pytest.mark.parametrize("arch", BY_NAME)
def test_with_a_stock_task_the_refusal_says_that_they_need_an_rdrop_task(arch):
    task = build_task(BY_NAME[arch].removeprefix("rdrop_"))
    model = build_model(task, arch, **ONE_TAIL, criterion=NAME)
    with pytest.raises(SystemExit) as stopped:
        train(build_criterion(NAME, task), model, make_sample(task))
    line = stopped.value.code
    assert "\n" not in line and f"--criterion {NAME}: the model has no adaptive softmax" in line
    assert f"{arch}" in line and "with an R-Drop task alone" in line


# Refusals


@pytest.mark.parametrize("backend", ["pytorch_ddp", "c10d"])
def test_the_parents_refusal_of_a_ddp_back_end_is_one_line(task, backend):
    with pytest.raises(SystemExit) as stopped:
        build_criterion(NAME, task, ddp_backend=backend)
    line = stopped.value.code
    assert "\n" not in line and f"--ddp-backend {backend}" in line and "--ddp-backend=legacy_ddp" in line


@pytest.mark.parametrize("backend", ["legacy_ddp", "no_c10d"])
def test_the_other_back_ends_are_taken(task, backend):
    build_criterion(NAME, task, ddp_backend=backend)


def test_the_flag_is_of_this_criterion_alone():
    owners = [
        name
        for name, known in CRITERION_DATACLASS_REGISTRY.items()
        if "rdrop_adaptive_divergence" in known.__dataclass_fields__
    ]
    assert owners == [NAME]


def test_bad_flags(task):
    with pytest.raises(SystemExit, match="--rdrop-adaptive-divergence full: must be one of published, exact"):
        build_criterion(NAME, task, rdrop_adaptive_divergence="full")
    with pytest.raises(
        SystemExit, match="--rdrop-loss fused: must be auto or plain with --rdrop-adaptive-divergence exact"
    ):
        build_criterion(NAME, task, rdrop_adaptive_divergence="exact", rdrop_loss="fused")


def test_a_model_without_adaptive_softmax_is_refused(task):
    model, sample = build_model(task, LM), make_sample(task)
    task.model_to_train = model
    for refused in (lambda: build_criterion(NAME, task), lambda: train(build_criterion(NAME, task), model, sample)):
        with pytest.raises(SystemExit) as stopped:
            refused()
        line = stopped.value.code
        assert "\n" not in line and f"--criterion {NAME}: the model has no adaptive softmax" in line
        assert "rdrop_cross_entropy" in line and "--adaptive-softmax-cutoff" in line
