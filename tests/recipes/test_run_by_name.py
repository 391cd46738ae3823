"""A script answers from any folder and with any Python: it prints its help, or one line on what is not installed."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from recipes import start
from support.places import ROOT, SCRIPTS

ENTRIES = sorted(
    path.name
    for path in SCRIPTS.glob("*.*")
    if path.is_file() and re.search(r'/recipes/start\.sh"|^from recipes\.start', path.read_text(), re.MULTILINE)
)
INSTALL = "; run make install, or activate the environment that has it\n"


def write_program(path: Path, *lines: str) -> None:
    """Write a shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


def typed(script: Path, active: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a script by its path from another folder, where `active` is the folder of the active Python."""
    env = os.environ | {"PATH": f"{active}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    env.pop("PYTHONPATH", None)
    return subprocess.run(
        [str(script), *options], cwd=active.parent, capture_output=True, text=True, env=env, check=False
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the scripts and the package without .venv. Its folder bare has a Python without modules."""
    folder = tmp_path_factory.mktemp("copy") / "of it"
    for name in ("scripts", "rdrop_fairseq"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    write_program(folder / "bare/python3", f'exec "{sys.executable}" -S "$@"')
    return folder


@pytest.fixture
def venv(copy: Path):
    """Give the folder of the Python of the copy's .venv, which a test may write."""
    yield copy / ".venv/bin"
    shutil.rmtree(copy / ".venv")


def test_the_scripts():
    assert {"report.py", "compare_runs.py", "average_checkpoints.py", "evaluate_translation.sh"} <= set(ENTRIES)
    assert all(os.access(SCRIPTS / name, os.X_OK) for name in ENTRIES)
    for file in SCRIPTS.rglob("*.py"):
        assert os.access(file, os.X_OK) == file.read_bytes().startswith(b"#!"), file


@pytest.mark.parametrize("name", ENTRIES)
def test_help_needs_no_modules(copy, name):
    for option in ("--help", "-h"):
        shown = typed(copy / "scripts" / name, copy / "bare", "--out", "x", option)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert re.search(rf"^Usage:\s+scripts/{name} ", shown.stdout, re.MULTILINE)
        assert "recipes" not in shown.stdout and "#!" not in shown.stdout


@pytest.mark.parametrize("name", ENTRIES)
def test_the_python_of_the_repository_takes_over_if_the_active_one_lacks_modules(copy, venv, name):
    missing = typed(copy / "scripts" / name, copy / "bare", "x")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith("not installed: ") and missing.stderr.endswith(INSTALL)
    assert missing.stderr.count("\n") == 1
    write_program(venv / "python3", "printf '%s|' took over \"$@\"")
    found = typed(copy / "scripts" / name, copy / "bare", "x", "a b", "--", "")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("took|over|") and found.stdout.endswith("|x|a b|--||")


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="not in a virtual environment")
def test_the_command_runs_in_the_python_that_takes_over(copy, venv):
    venv.parent.symlink_to(sys.prefix)
    try:
        found = typed(copy / "scripts/report.py", copy / "bare", "--out", "x")
    finally:
        venv.parent.unlink()
        venv.mkdir(parents=True)
    message = "report.py: the following arguments are required: RUN (see --help)\n"
    assert (found.returncode, found.stdout, found.stderr) == (1, "", message)


def test_the_active_python_is_taken_if_it_has_the_modules(copy):
    write_program(copy / "active/python3", f'exec "{sys.executable}" "$@"')
    found = typed(copy / "scripts/report.py", copy / "active", "--out", "x")
    assert found.stderr == "report.py: the following arguments are required: RUN (see --help)\n"


def test_a_python_that_is_too_old_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 8, 0))
    monkeypatch.setattr(start, "VENV", str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        start.find_python(["json"])
    assert stopped.value.code == "not installed: Python 3.11 or later" + INSTALL.removesuffix("\n")


@pytest.mark.parametrize("path", [SCRIPTS / "recipes/start.py", *sorted(SCRIPTS.glob("*.py"))], ids=lambda p: p.name)
def test_any_python_3_can_read_what_runs_first(path):
    ast.parse(path.read_text(), feature_version=(3, 4))
