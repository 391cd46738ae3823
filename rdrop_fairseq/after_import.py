"""Call a function as soon as a package has been imported, without importing it."""

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def after_import(name: str, call: Callable[[], object]) -> None:
    """Call ``call`` once: now if the top-level package ``name`` is imported, otherwise right after its import.

    If ``call`` raises, the import of the package fails with that exception.
    """
    if name in sys.modules:
        call()
    else:
        sys.meta_path.insert(0, _Finder(name, call))


class _Finder:
    """Find one package as Python's own finders do, and let its loader call a function afterwards."""

    def __init__(self, name: str, call: Callable[[], object]) -> None:
        self.name, self.call = name, call

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return what the other finders find, with the loader replaced; None for any other package."""
        if name != self.name:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            if find is not None and (spec := find(name, path, target)) is not None:
                if spec.loader is not None:  # a namespace package has none
                    spec.loader = _Loader(spec.loader, self)
                return spec
        return None


class _Loader:
    """Put the package's own loader back before executing it, and call a function afterwards."""

    def __init__(self, own: Any, finder: _Finder) -> None:
        self.own, self.finder = own, finder

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the package's own loader: some look at a loader without importing its package."""
        return getattr(self.own, name)

    def exec_module(self, module: ModuleType) -> None:
        """Put the package's own loader back before executing it, then call the function."""
        if module.__spec__ is not None:
            module.__spec__.loader = self.own
        module.__loader__ = self.own
        self.own.exec_module(module)
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
            self.finder.call()
