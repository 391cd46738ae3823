"""Imports run one way, and what needs torch alone works without fairseq."""

import ast
import importlib
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(importlib.import_module("rdrop_fairseq").__file__).parent


def test_torch_alone_is_enough():
    """As where fairseq is not installed: nobody on the import path finds it, nor what comes with it."""
    script = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("fairseq", "omegaconf", "hydra", "sacrebleu"):
            return None
        return self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
try:
    import fairseq
    raise SystemExit("fairseq is still importable: this tests nothing")
except ModuleNotFoundError:
    pass

import torch
import rdrop_fairseq
assert all(getattr(rdrop_fairseq, name) is not None for name in rdrop_fairseq.__all__)
assert not any(name.startswith("rdrop_fairseq.") and name.split(".")[1] in ("compat", "criterions", "tasks")
               for name in sys.modules)
from rdrop_fairseq import divergence as module
from rdrop_fairseq.divergence import divergence
assert module.divergence is divergence
from rdrop_fairseq.dropout import register_dropout
from rdrop_fairseq.fused import linear_rdrop_loss
from rdrop_fairseq.passes import forward_passes, repeat_batch
from rdrop_fairseq.schedule import AlphaSchedule

lprobs = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]).log()
assert abs(divergence(lprobs).item() - 0.25 * 0.6931472) < 1e-6
fused = linear_rdrop_loss(lprobs, torch.eye(3), torch.tensor([2]), 5.0)
assert abs(fused.kl_loss.item() - 0.25 * 0.6931472) < 1e-6
sample = {"net_input": {"input": torch.ones(3, 2)}, "target": torch.zeros(3)}
model = torch.nn.Linear(2, 5)
assert forward_passes(model, sample, repeat_batch(sample, 2), None, 2).shape == (6, 5)
assert AlphaSchedule(5.0)(0) == 5.0
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# What may import what: a file or folder of the package, its own imports, and other packages besides Python's.
ALLOWED = {
    "after_import": (set(), set()),
    "checks": (set(), {"torch"}),
    "cutoff": (set(), {"torch"}),
    "divergence": (set(), {"torch"}),
    "fraction": (set(), {"torch"}),
    "watch": (set(), {"torch"}),
    "terms": ({"checks", "divergence"}, {"torch"}),
    "loss": ({"checks", "divergence", "terms", "watch"}, {"torch"}),
    "schedule": (set(), set()),
    "dropout": (set(), {"torch"}),
    "passes": ({"dropout"}, {"torch"}),
    "model": ({"passes"}, {"torch"}),
    "fused_torch": ({"divergence"}, {"torch"}),
    "fused_triton": ({"divergence", "fused_torch"}, {"torch", "triton"}),
    "fused_choice": ({"fused_torch", "fused_triton"}, {"torch"}),
    "fused": ({"checks", "divergence", "fused_choice", "fused_torch", "watch"}, {"torch"}),
}
TORCH_ONLY = set(ALLOWED)
FAIRSEQ = {"torch", "fairseq", "omegaconf", "numpy"}
ALLOWED |= {
    "compat": ({"compat", *TORCH_ONLY}, FAIRSEQ),
    "criterions": ({"criterions", "compat", *TORCH_ONLY}, FAIRSEQ),
    "tasks": ({"tasks", "compat", *TORCH_ONLY}, FAIRSEQ),
    "__init__": ({"criterions", "tasks", "compat", *TORCH_ONLY}, set()),
}


def imported(path):
    """Return the full names of what a file imports, at any depth of its code."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    """tasks, criterions -> compat -> files that import torch alone."""
    own_allowed, others_allowed = ALLOWED[path.relative_to(PACKAGE).parts[0].removesuffix(".py")]
    names = set(imported(path))
    own = {name.split(".")[1] for name in names if name.startswith("rdrop_fairseq.")}
    others = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"rdrop_fairseq"}
    assert own <= own_allowed
    assert others <= others_allowed


def test_every_rule_is_for_something():
    assert all((PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file() for name in ALLOWED)
