"""The GPU kernel of the fused loss: by Triton's interpreter against torch's own operations, and compiled for GPUs."""

import os
import subprocess
import sys

import pytest
import torch

from rdrop_fairseq import fused

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
triton = pytest.importorskip("triton", reason="Triton is not installed: .venv/bin/pip install triton")
if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 3):  # that of PyTorch 2.6
    pytest.skip("Triton 3.2 does not interpret with numpy 2.4, and compiles by another call", allow_module_level=True)
from rdrop_fairseq import fused_triton  # noqa: E402


def facts(tokens):
    return torch.zeros(len(fused._Facts._fields), tokens, 2)


@pytest.mark.parametrize("kind", ["symmetric", "forward", "reverse"])
@pytest.mark.parametrize("vocab", [3, 1000, 4096, 9001])
def test_the_kernel_equals_torchs_operations(kind, vocab):
    draw = torch.Generator().manual_seed(vocab)
    logits = 3 * torch.randn(3, 2, vocab, generator=draw)
    target = torch.randint(vocab, (3,), generator=draw)
    settings = fused._Settings(0.7, 0.9, 0.1 / vocab, kind, False, True)
    actual, expected = logits.clone(), logits.clone()
    actual_facts, expected_facts = facts(3), facts(3)
    fused_triton.loss_and_gradient(actual, target, settings, 256.0, fused._Facts(*actual_facts))
    fused._loss_and_gradient(expected, target, settings, 256.0, expected_facts)
    assert fused_triton.supports(logits, kind)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(actual_facts, expected_facts, rtol=1e-5, atol=1e-5)
    assert expected_facts[3].sum() > 0.1  # there is a divergence to compare


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype):
    logits = torch.randn(2, 2, 50, generator=torch.Generator().manual_seed(1)).to(dtype)
    settings = fused._Settings(5.0, 0.9, 0.1 / 49, "symmetric", False, True)
    target = torch.tensor([3, 7])
    exact = logits.float()
    fused_triton.loss_and_gradient(logits, target, settings, 1.0, fused._Facts(*facts(2)))
    fused._loss_and_gradient(exact, target, settings, 1.0, facts(2))
    torch.testing.assert_close(logits.float(), exact, rtol=torch.finfo(dtype).eps, atol=1e-5)


def test_extreme_logits():
    logits = torch.tensor([[(1e4, -1e4, 0.0), (-1e4, 1e4, 0.0)]])
    known = facts(1)
    fused_triton.loss_and_gradient(
        logits, torch.tensor([0]), fused._Settings(5.0, 1.0, 0.0, "symmetric", False, True), 1.0, fused._Facts(*known)
    )
    assert logits.isfinite().all()
    assert fused._Facts(*known).divergence.sum() == 2e4


def test_without_gradient_the_logits_stay():
    logits = torch.randn(2, 2, 5)
    before = logits.clone()
    settings = fused._Settings(5.0, 1.0, 0.0, "symmetric", False, False)
    fused_triton.loss_and_gradient(logits, torch.tensor([0, 1]), settings, 1.0, fused._Facts(*facts(2)))
    fused_triton.loss_and_gradient(logits[:0], torch.tensor([0, 1])[:0], settings, 1.0, fused._Facts(*facts(0)))
    assert torch.equal(logits, before)


def test_what_the_kernel_leaves_to_torch():
    assert not fused_triton.supports(torch.zeros(1, 3, 4), "symmetric")
    assert not fused_triton.supports(torch.zeros(1, 2, 4), "js")
    assert not fused_triton.supports(torch.zeros(1, 2, 4, dtype=torch.float64), "symmetric")


COMPILE = """
import itertools, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from rdrop_fairseq.fused_triton import _kernel

for capability, dtype in itertools.product((80, 90), ("bf16", "fp16", "fp32")):
    types = dict.fromkeys(_kernel.arg_names, "fp32")
    types |= {"logits": f"*{dtype}", "target": "*i64", "vocab": "i32", "with_grad": "constexpr", "block": "constexpr"}
    types |= dict.fromkeys(("log_sum", "target_logit", "divergence"), "*fp32")
    source = ASTSource(_kernel, types, constexprs={"with_grad": True, "block": 4096})
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 8})
    assert compiled.asm["cubin"], (capability, dtype)
"""


def test_the_kernel_compiles_for_gpus():
    """Down to machine code, which needs no GPU."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
