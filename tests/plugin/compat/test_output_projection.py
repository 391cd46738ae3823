"""Which models the fused loss is used with, what is said about it, and that several processes agree on both paths."""

import functools
import logging
import sys
from argparse import Namespace
from itertools import product

import pytest
import torch
from fairseq.distributed import LegacyDistributedDataParallel, ModuleProxyWrapper
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.models.transformer import TransformerDecoderBase, TransformerModelBase
from support.command_line import free_port, start
from support.helpers import assert_grads_close, build_criterion, build_model, build_task, make_sample, train
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rdrop_fairseq.compat.output_projection import NoOutputProjectionError, output_projection

NAME = "rdrop_label_smoothed_cross_entropy"


@pytest.fixture
def task():
    return build_task()


@pytest.mark.parametrize("share", [True, False])
def test_a_transformers_projection_is_found(task, share):
    model = build_model(task, share_decoder_input_output_embed=share)
    projection = output_projection(model)
    assert projection is model.decoder.output_projection
    assert (projection.weight is model.decoder.embed_tokens.weight) == share


def test_that_of_bart_is_found(task):
    args = Namespace(
        encoder_embed_dim=8, encoder_ffn_embed_dim=16, encoder_layers=1, decoder_layers=1, max_source_positions=64,
        encoder_attention_heads=2, decoder_attention_heads=2, max_target_positions=64, share_all_embeddings=True,
    )  # fmt: skip
    ARCH_CONFIG_REGISTRY["bart_base"](args)
    model = ARCH_MODEL_REGISTRY["bart_base"].build_model(args, task)
    assert output_projection(model) is model.decoder.output_projection
    plain, fused = (train(build_criterion(NAME, task, rdrop_loss=loss), model, make_sample(task)) for loss in LOSSES)
    torch.testing.assert_close(fused.loss, plain.loss)


LOSSES = ("plain", "fused")


def hooked(model):
    model.decoder.output_projection.register_forward_pre_hook(lambda module, inputs: None)
    return model


class OwnOutputLayer(TransformerDecoderBase):
    def output_layer(self, features):
        return 2 * super().output_layer(features)


def with_own_output_layer(model):
    model.decoder.__class__ = OwnOutputLayer
    return model


class OwnProbs(TransformerModelBase):
    def get_normalized_probs(self, net_output, log_probs, sample=None):
        return super().get_normalized_probs(net_output, log_probs, sample) * 2


def with_own_probs(model):
    model.__class__ = OwnProbs
    return model


class Sharded(nn.Module):
    """As fully sharded data parallel: the model inside, its weights whole in its forward alone."""

    def __init__(self, model):
        super().__init__()
        self.module = model
        self.decoder = model.decoder

    def forward(self, **net_input):
        return self.module(**net_input)


@pytest.mark.parametrize(
    "arch, settings, change, reason",
    [
        ("lstm", {}, None, "LSTMModel has an output layer of its own"),
        ("transformer", {"adaptive_softmax_cutoff": "6,9"}, None, "adaptive softmax"),
        ("transformer", {}, hooked, "no plain output projection"),
        ("transformer", {}, with_own_output_layer, "output layer of its own"),
        ("transformer", {}, with_own_probs, "OwnProbs has an output layer of its own"),
        ("transformer", {}, Sharded, "Sharded, which may hold its weights in parts"),
    ],
)
def test_other_models_are_left_alone(task, arch, settings, change, reason):
    model = build_model(task, arch, **settings)
    with pytest.raises(NoOutputProjectionError, match=reason):
        output_projection(change(model) if change else model)


def test_auto_falls_back_with_equal_results(task, caplog):
    sample, model = make_sample(task), build_model(task)
    fused = train(build_criterion(NAME, task), model, sample)
    with caplog.at_level(logging.INFO):
        plain = train(build_criterion(NAME, task), hooked(model), sample)
    torch.testing.assert_close(fused.loss, plain.loss)
    assert_grads_close(fused.grads, plain.grads)
    assert "R-Drop loss: plain (TransformerModel has no plain output projection)" in caplog.text


def test_fused_refuses_such_a_model_with_one_line(task):
    with pytest.raises(SystemExit) as stopped:
        train(build_criterion(NAME, task, rdrop_loss="fused"), build_model(task, "lstm"), make_sample(task))
    line = stopped.value.code
    assert "\n" not in line and "--rdrop-loss fused" in line and "auto or plain" in line and "LSTMModel" in line


@pytest.mark.parametrize("loss, said", [("auto", "fused"), ("fused", "fused"), ("plain", "plain (--rdrop-loss plain)")])
def test_the_log_says_once_which_loss_is_in_use(task, caplog, loss, said):
    criterion, model = build_criterion(NAME, task, rdrop_loss=loss), build_model(task)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            train(criterion, model, make_sample(task))
    assert caplog.text.count("R-Drop loss: ") == caplog.text.count(f"R-Drop loss: {said}") == 1


@pytest.mark.parametrize("settings", [{"rdrop_dropouts": "0.1,0.4"}, {"ignore_prefix_size": 2}, {"rdrop_passes": 3}])
@pytest.mark.parametrize("share", [True, False])
def test_both_losses_are_equal(task, settings, share):
    model, sample = build_model(task, share_decoder_input_output_embed=share), make_sample(task)
    settings = {"label_smoothing": 0.1, "report_accuracy": True} | settings
    plain, fused = (train(build_criterion(NAME, task, rdrop_loss=loss, **settings), model, sample) for loss in LOSSES)
    torch.testing.assert_close(fused.loss, plain.loss)
    assert_grads_close(fused.grads, plain.grads)
    assert fused.log.keys() == plain.log.keys()
    for key in plain.log:
        torch.testing.assert_close(torch.as_tensor(fused.log[key]), torch.as_tensor(plain.log[key]))
    assert torch.equal(fused.rng_state, plain.rng_state)


# Several processes


WRAPS = {
    "legacy": lambda model: LegacyDistributedDataParallel(model, process_group=torch.distributed.group.WORLD),
    "pytorch": DistributedDataParallel,
    "find_unused": functools.partial(DistributedDataParallel, find_unused_parameters=True),
}


def steps_of_a_process():
    """Write the gradients that one of two processes, each with its own batch, has after a step with each wrapper."""
    rank, port, results = int(sys.argv[1]), *sys.argv[2:]
    group = {"init_method": f"tcp://127.0.0.1:{port}", "rank": rank, "world_size": 2}
    torch.distributed.init_process_group("gloo", **group)
    task = build_task()
    for wrap, share in product(WRAPS, (True, False)):
        model = build_model(task, dropout=0.0, share_decoder_input_output_embed=share).train()
        wrapped = WRAPS[wrap](model)
        criterion = build_criterion(NAME, task, label_smoothing=0.1)
        step = train(criterion, ModuleProxyWrapper(wrapped), make_sample(task, seed=rank))
        if wrap == "legacy":
            wrapped.all_reduce_grads()
        grads = {name: p.grad for name, p in model.named_parameters()}
        (plan,) = criterion.plans.values()
        torch.save((plan.projection is not None, step.loss, grads), f"{results}/{wrap}_{share}_{rank}")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def steps_of_two_processes(tmp_path_factory):
    """Return the folder of what two processes wrote."""
    folder = tmp_path_factory.mktemp("steps")
    port = free_port()
    entry = f"{steps_of_a_process.__module__}:{steps_of_a_process.__name__}"
    processes = [start(entry, rank, port, folder) for rank in (0, 1)]
    for result in [process.result() for process in processes]:
        assert result.status == 0, result.stderr
    return folder


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("share", [True, False], ids=["shared", "unshared"])
def test_two_processes_have_the_mean_gradient(task, steps_of_two_processes, wrap, share):
    found = [torch.load(steps_of_two_processes / f"{wrap}_{share}_{rank}") for rank in (0, 1)]

    model = build_model(task, dropout=0.0, share_decoder_input_output_embed=share)
    criterion = build_criterion(NAME, task, label_smoothing=0.1, rdrop_loss="plain")
    steps = [train(criterion, model, make_sample(task, seed=rank)) for rank in (0, 1)]
    mean = {name: (steps[0].grads[name] + steps[1].grads[name]) / 2 for name in steps[0].grads}
    for step, (fused, loss, grads) in zip(steps, found, strict=True):
        assert fused == (wrap != "find_unused")
        torch.testing.assert_close(loss, step.loss)
        assert_grads_close(grads, mean)
