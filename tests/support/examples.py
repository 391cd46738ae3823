"""Load a program of examples/ as a module, without running it."""

import gc
import importlib.util
from types import ModuleType

from support.libraries import import_what_is_there
from support.places import ROOT

FILES = sorted((ROOT / "examples").glob("*.py"))
EXAMPLES = [path.stem for path in FILES if not {"vision", "glue"} & {*path.stem.split("_")}]  # they generate their data


def load_example(name: str) -> ModuleType:
    """Return the example of this name, as a module of its own."""
    if name != "several_processes":  # the others need these libraries
        import_what_is_there()
    spec = importlib.util.spec_from_file_location(f"examples.{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    gc.freeze()  # what it imported: the Trainer lets the garbage collector go through all else at each end
    return module
