"""The GPU kernel of the fused loss: by Triton's interpreter against torch's own operations, and compiled for GPUs."""

import math
import os
import subprocess
import sys
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fused_cases import FLOAT16, check_float16

from rdrop_fairseq import fused, fused_choice, fused_torch
from rdrop_fairseq.divergence import DIVERGENCES, KL_DIVERGENCES
from rdrop_fairseq.fused_torch import Facts, Settings

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
triton = pytest.importorskip("triton", reason="Triton is not installed: .venv/bin/pip install triton")
if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 3):  # that of PyTorch 2.6
    pytest.skip("Triton 3.2 does not interpret with numpy 2.4, and compiles by another call", allow_module_level=True)
from rdrop_fairseq import fused_triton  # noqa: E402

SERVED = (*KL_DIVERGENCES, "bhattacharyya")


def facts(tokens):
    return Facts(*torch.zeros(len(Facts._fields), tokens, 2))


def settings_of(alpha, kind="symmetric", with_grad=True):
    return Settings(alpha, 0.9, 1e-3, kind, with_grad, torch.float32, (1.0, 0.3))


@pytest.mark.parametrize("kind", SERVED)
@pytest.mark.parametrize("vocab", [3, 1000, 4096, 9001])
def test_the_kernel_equals_torchs_operations(kind, vocab):
    draw = torch.Generator().manual_seed(vocab)
    logits = 3 * torch.randn(3, 2, vocab, generator=draw)
    target = torch.randint(vocab, (3,), generator=draw)
    settings = settings_of(0.7, kind)
    actual, expected = logits.clone(), logits.clone()
    actual_facts, expected_facts = facts(3), facts(3)
    assert fused_triton.loss_and_gradient(actual, target, settings, actual_facts) is None
    fused_torch.loss_and_gradient(expected, target, settings, expected_facts)
    assert fused_triton.supports(logits.dtype, 2, kind)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(torch.stack(actual_facts), torch.stack(expected_facts), rtol=1e-5, atol=1e-5)
    assert expected_facts.divergence.sum() > 0.1  # there is a divergence to compare


@pytest.mark.parametrize("kind", SERVED)
@pytest.mark.parametrize("vocab", [50, 9001])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype, vocab, kind):
    logits = torch.randn(2, 2, vocab, generator=torch.Generator().manual_seed(1)).to(dtype)
    target = torch.tensor([3, 7])
    exact = logits.float()
    factor = fused_triton.loss_and_gradient(logits, target, settings_of(5.0, kind), facts(2))
    fused_torch.loss_and_gradient(exact, target, settings_of(5.0, kind), facts(2))
    actual = logits.float()
    if dtype == torch.float16:
        assert actual.abs().max().item() == pytest.approx(2**15, rel=1e-3)
        actual /= factor
    torch.testing.assert_close(actual, exact, rtol=torch.finfo(dtype).eps, atol=1e-5 if factor is None else 3e-9)


@settings(max_examples=20)
@given(
    **FLOAT16
    | {"kind": st.sampled_from(SERVED)}
    | {"tokens": st.sampled_from([1, 9]), "vocab": st.sampled_from([1, 2, 33])}
)
def test_property_float16_is_finite_where_it_fits_and_as_exact_as_the_plain_path(**drawn):
    with mock.patch.object(fused, "choose_elementwise", lambda *_: fused_triton):
        check_float16(**drawn)


@pytest.mark.parametrize("kind, known_value", [("symmetric", 2e4), ("bhattacharyya", 1e4 - math.log(3))])
def test_extreme_logits(kind, known_value):
    logits = torch.tensor([[(1e4, -1e4, 0.0), (-1e4, 1e4, 0.0)]])
    known = facts(1)
    fused_triton.loss_and_gradient(logits, torch.tensor([0]), settings_of(5.0, kind), known)
    assert logits.isfinite().all()
    assert known.divergence.sum().item() == pytest.approx(known_value, rel=1e-4)


def test_without_gradient_the_logits_stay():
    logits = torch.randn(2, 2, 5)
    before = logits.clone()
    settings = settings_of(5.0, with_grad=False)
    fused_triton.loss_and_gradient(logits, torch.tensor([0, 1]), settings, facts(2))
    fused_triton.loss_and_gradient(logits[:0], torch.tensor([0, 1])[:0], settings, facts(0))
    assert torch.equal(logits, before)


def test_what_the_kernel_leaves_to_torch():
    assert not fused_triton.supports(torch.float32, 3, "symmetric")
    served = [kind for kind in DIVERGENCES if fused_triton.supports(torch.float32, 2, kind)]
    assert served == list(SERVED) and "js" not in served
    assert not fused_triton.supports(torch.float64, 2, "symmetric")


def test_a_kernel_that_does_not_run_is_left_out_with_one_warning(monkeypatch):
    """As where Triton finds no C compiler, or does not know the GPU."""
    monkeypatch.setattr(fused_triton, "_kernel", {(1,): mock.Mock(side_effect=RuntimeError("no C\ncompiler"))})
    fused_choice.runs.cache_clear()
    with pytest.warns(UserWarning, match="does not run here.*no C compiler") as seen:
        assert [fused_choice.runs(torch.device("cpu"), torch.float32) for _ in range(3)] == [False] * 3
    assert len(seen) == 1
    fused_choice.runs.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_kernel_that_runs_is_seen_to_run(dtype):
    fused_choice.runs.cache_clear()
    assert fused_choice.runs(torch.device("cpu"), dtype)


COMPILE = """
import itertools, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from rdrop_fairseq.fused_triton import _kernel

for capability, by_mean, (dtype, facts) in itertools.product(
    (80, 90), (False, True), (("bf16", True), ("fp16", True), ("fp16", False), ("fp32", True))
):
    types = dict.fromkeys(_kernel.arg_names, "fp32")
    types |= {"logits": f"*{dtype}", "target": "*i64", "vocab": "i32"}
    types |= dict.fromkeys(("log_sum", "target_logit", "divergence", "largest", "factor"), "*fp32")
    constants = {"scaled": dtype == "fp16", "by_mean": by_mean, "block": 4096, "with_facts": facts, "with_grad": True}
    constants["with_writing"] = dtype != "fp16" or not facts
    source = ASTSource(_kernel, types | dict.fromkeys(constants, "constexpr"), constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 8})
    assert compiled.asm["cubin"], (capability, by_mean, dtype)
"""


def test_the_kernel_compiles_for_gpus():
    """Down to machine code, which needs no GPU."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
