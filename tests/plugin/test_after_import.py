"""Importing the package costs no fairseq; it registers with fairseq as soon as that is imported, in any order."""

import importlib
import importlib.util
import subprocess
import sys

import pytest

import rdrop_fairseq
from rdrop_fairseq.after_import import after_import


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Give a package that nobody has imported."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    (tmp_path / "some_package").mkdir()
    (tmp_path / "some_package/__init__.py").write_text("import json\nVALUE = 1\n")
    (tmp_path / "some_package/part.py").write_text("import some_package\nVALUE = some_package.VALUE\n")
    yield tmp_path / "some_package"
    for name in [name for name in sys.modules if name.split(".")[0] == "some_package"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["some_package", "some_package.part"])
def test_it_is_called_once_and_after_the_import(package, name):
    seen = []
    after_import("some_package", lambda: seen.append(sys.modules["some_package"].VALUE))
    assert importlib.util.find_spec("some_package").origin == str(package / "__init__.py")  # looking imports nothing
    importlib.import_module("json")
    assert not seen
    importlib.import_module(name)
    assert seen == [1]
    importlib.reload(sys.modules["some_package"])
    assert seen == [1]


def test_the_package_keeps_its_own_loader(package):
    before = list(sys.meta_path)
    after_import("some_package", lambda: None)
    module = importlib.import_module("some_package")
    own = importlib.machinery.SourceFileLoader
    assert type(module.__loader__) is own and type(module.__spec__.loader) is own
    assert sys.meta_path == before


def test_what_is_imported_already_is_registered_at_once(package):
    importlib.import_module("some_package")
    seen = []
    after_import("some_package", lambda: seen.append(1))
    assert seen == [1]


def test_the_call_may_import_parts_of_the_package(package):
    after_import("some_package", lambda: importlib.import_module("some_package.part"))
    importlib.import_module("some_package")
    assert "some_package.part" in sys.modules


def test_an_import_that_fails_may_be_tried_again(package):
    seen = []
    after_import("some_package", lambda: seen.append(1))
    text = (package / "__init__.py").read_text()
    (package / "__init__.py").write_text("raise ImportError('no')")
    with pytest.raises(ImportError, match="no"):
        importlib.import_module("some_package")
    assert not seen
    (package / "__init__.py").write_text(text + "# of another size\n")
    importlib.import_module("some_package")
    assert seen == [1]


def test_a_package_that_is_not_there(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    after_import("no_such_package", lambda: None)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        importlib.import_module("no_such_package")


def test_packages_that_need_fairseq_are_attributes():
    assert rdrop_fairseq.criterions is sys.modules["rdrop_fairseq.criterions"]
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = rdrop_fairseq.no_such_name


SCRIPT = """
import argparse, importlib, logging, os, sys
import torch
before = set(sys.modules)
import rdrop_fairseq
new = {name for name in set(sys.modules) - before if not name.startswith("rdrop_fairseq")}
assert not logging.getLogger().handlers
assert len(new) <= 3, new

def check(imported):
    importlib.import_module(imported)
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.tasks import TASK_REGISTRY
    assert "rdrop_adaptive_loss" in CRITERION_REGISTRY and "rdrop_translation" in TASK_REGISTRY
    assert argparse.Namespace in torch.serialization.get_safe_globals()

child = os.fork()
check("rdrop_fairseq.compat.checkpoints" if child else "fairseq")
assert not child or os.waitpid(child, 0)[1] == 0
"""


def test_a_bare_import_costs_torch_alone_and_a_later_one_of_fairseq_or_of_a_part_that_needs_it_registers():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
