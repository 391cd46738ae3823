"""Import scikit-learn's metrics and SciPy's statistics late, in the processes of pytest-xdist and programs of tests.

fairseq imports both for scores of classes, before it does anything: that takes 40 % of its start. Python imports this
file at the start of a program with this folder on its PYTHONPATH.
"""

import importlib
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

LATE = {"sklearn": (), "sklearn.metrics": ("f1_score", "matthews_corrcoef"), "scipy.stats": ("pearsonr", "spearmanr")}


class Late(ModuleType):
    """A module that becomes the real one if a function is called, or anything but these functions is asked for."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # Python's import asks for __path__
            raise AttributeError(name)
        if f"{self.__name__}.{name}" in LATE:
            return sys.modules[f"{self.__name__}.{name}"]
        if name in LATE[self.__name__]:
            return lambda *args, **options: getattr(real(self.__name__), name)(*args, **options)
        return getattr(real(self.__name__), name)


def real(name: str) -> ModuleType:
    """Import a module of LATE, and what stands with it there."""
    for late in LATE:
        if late.startswith(name.partition(".")[0]) and isinstance(sys.modules.get(late), Late):
            del sys.modules[late]
    return importlib.import_module(name)


def find(name: str) -> ModuleSpec | None:
    """Return where a module is, without importing what it is part of."""
    if not (parent := name.rpartition(".")[0]):
        return PathFinder.find_spec(name)
    spec = find(parent)
    return PathFinder.find_spec(name, spec.submodule_search_locations) if spec else None


for late in LATE:
    if spec := find(late):
        sys.modules[late] = Late(late)
        sys.modules[late].__spec__ = spec
