"""The package behind the scripts: imports run one way, and the plugin knows nothing of it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.places import ROOT, SCRIPTS

RECIPES = SCRIPTS / "recipes"
# From which packages the modules of a package may import, besides their own. "" is for the modules of recipes/ itself.
MAY_IMPORT = {
    "": set(),
    "text": {""},
    "data": {"", "text"},
    "training": {""},
    "evaluation": {"", "text", "data", "training"},
    "studies": {"", "text", "data", "training", "evaluation"},
}
COMMANDS = {"demo"}  # modules of recipes/ that are commands of their own: they may import all
MODULES = sorted(RECIPES.rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """Give the full names of the modules and of what is taken from them, inside functions too."""
    return imported_in(ast.parse(file.read_text(encoding="utf-8"), str(file)))


def imported_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"a relative import in line {node.lineno}"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def package_of(parts: list[str]) -> str:
    """Return the package inside recipes of a module's path or name, without recipes itself."""
    return parts[0] if parts[0] in MAY_IMPORT else ""


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(RECIPES)))
def test_imports_run_one_way(file):
    parts = list(file.relative_to(RECIPES).with_suffix("").parts)
    package = package_of(parts)
    if package == "" and parts[0] in COMMANDS:
        return
    allowed = MAY_IMPORT[package] | {package}
    for name in imported(file):
        if name.startswith("recipes."):
            assert package_of(name.split(".")[1:]) in allowed, f"{file} imports {name}"


def test_every_package_is_known():
    folders = {file.parent.name for file in MODULES if file.parent != RECIPES}
    assert folders == MAY_IMPORT.keys() - {""}


def test_what_takes_seconds_is_imported_when_it_is_used():
    """So help and refusals come at once. preprocess.py is a program of its own, which is fairseq's."""
    for file in MODULES:
        if file.name != "preprocess.py":
            at_the_top = ast.Module([], [])
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                    at_the_top.body.append(node)
            for name in imported_in(at_the_top):
                of_fairseq = r"(fairseq|fairseq_cli|rdrop_fairseq\.(compat|criterions|tasks))\b"  # they import fairseq
                assert not re.match(of_fairseq, name), f"{file}: {name}"


def test_preparing_needs_no_plugin():
    for file in MODULES:
        if file.parent.name in ("data", "text"):
            assert not any(name.split(".")[0] == "rdrop_fairseq" for name in imported(file)), file


def test_the_plugin_imports_none_of_it():
    for file in sorted((ROOT / "rdrop_fairseq").rglob("*.py")):
        assert not any(name.split(".")[0] == "recipes" for name in imported(file)), file


def test_no_function_sets_the_command_line_or_the_working_directory():
    for file in (*MODULES, *sorted((ROOT / "rdrop_fairseq").rglob("*.py"))):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                assert not any(ast.unparse(target).startswith("sys.argv") for target in targets), (
                    f"{file}: {node.lineno}"
                )
            elif isinstance(node, ast.Call):
                assert ast.unparse(node.func) != "os.chdir", f"{file}: {node.lineno}"
