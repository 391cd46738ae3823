"""On a GPU, where there is one: the fused loss by the kernel and by torch's operations, and a training step."""

import pytest
import torch
from support.fused_cases import fused_loss
from support.helpers import assert_grads_close, build_criterion, build_model, build_task, make_sample, train

from rdrop_fairseq import fused, fused_torch
from rdrop_fairseq.divergence import DIVERGENCES

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

NAME = "rdrop_label_smoothed_cross_entropy"


@pytest.fixture(params=["triton", "torch"])
def way(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(fused, "choose_elementwise", lambda *_: fused_torch)
    else:
        assert fused.choose_elementwise(torch.device("cuda"), torch.float16, 2, "symmetric") is not fused_torch


def on(device, dtype, *tensors):
    return [tensor.detach().to(device, dtype).requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("passes, vocab", [(2, 8), (2, 10_000), (2, 33_001), (3, 1000)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_fused_loss_equals_float64_on_the_cpu(way, kind, passes, vocab, dtype):
    draw = torch.Generator().manual_seed(1)
    hidden, weight = torch.randn(passes, 70, 64, generator=draw), 0.3 * torch.randn(vocab, 64, generator=draw)
    bias, target = torch.randn(vocab, generator=draw), torch.randint(vocab, (70,), generator=draw)
    halves = [tensor.to(dtype) for tensor in (hidden, weight, bias)]

    def run(hidden, weight, bias):
        result = fused_loss(
            hidden, weight, target.to(hidden.device), 5.0,
            bias=bias, label_smoothing=0.1, divergence=kind, ignore_index=1, count_correct=True,
        )  # fmt: skip
        return result, torch.autograd.grad(result.loss, (hidden, weight, bias))

    actual, actual_grads = run(*on("cuda", dtype, *halves))
    expected, expected_grads = run(*on("cpu", torch.float64, *halves))
    tolerance = 1e-4 if dtype == torch.float32 else 8 * torch.finfo(dtype).eps
    for one, other in zip(actual[:3], expected[:3], strict=True):
        torch.testing.assert_close(one.double().cpu(), other.double(), rtol=tolerance, atol=1e-3)
    for one, other in zip(actual_grads, expected_grads, strict=True):
        assert (one.double().cpu() - other).norm() <= tolerance * other.norm()


def test_chunks_change_nothing(way, monkeypatch):
    draw = torch.Generator().manual_seed(1)
    hidden, weight = on(
        "cuda", torch.float32, torch.randn(2, 50, 8, generator=draw), torch.randn(999, 8, generator=draw)
    )
    target = torch.randint(999, (50,), device="cuda")

    def run():
        loss = fused_loss(hidden, weight, target, 5.0, label_smoothing=0.1).loss
        return loss, *torch.autograd.grad(loss, (hidden, weight))

    whole = run()
    monkeypatch.setattr(fused, "_CHUNK", {"cuda": 2 * 999 * 7})
    for part, one in zip(run(), whole, strict=True):
        torch.testing.assert_close(part, one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("autocast", [None, torch.float16, torch.bfloat16])
def test_a_step_equals_that_of_the_plain_loss(way, autocast):
    task = build_task()
    model = build_model(task, dropout=0.0).cuda()
    sample = make_sample(task)
    net_input = {name: tensor.cuda() for name, tensor in sample["net_input"].items()}
    sample = {**sample, "net_input": net_input, "target": sample["target"].cuda()}

    def step(loss):
        criterion = build_criterion(NAME, task, label_smoothing=0.1, rdrop_loss=loss, report_accuracy=True)
        with torch.autocast("cuda", dtype=autocast, enabled=autocast is not None):
            return train(criterion, model, sample)

    tolerance = {"rtol": 1e-4, "atol": 1e-4} if autocast is None else {"rtol": 0.05, "atol": 0.05}
    plain, ours = step("plain"), step("fused")
    torch.testing.assert_close(ours.loss, plain.loss, **tolerance)
    assert_grads_close(ours.grads, plain.grads, **tolerance)
