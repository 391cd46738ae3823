"""The Python tools that are typed by their names find the Python that has their modules, as the shell scripts do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.toy_run import SCRIPTS

TOOLS = ("report.py", "compare_runs.py", "average_checkpoints.py")


def write_python(path: Path, *options: str) -> None:
    """Write a program that runs this Python with these options before its own."""
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {" ".join(options)} "$@"\n')
    path.chmod(0o755)


def typed(tool: Path, active: Path) -> subprocess.CompletedProcess[str]:
    """Run a tool as typed, with --help, where `active` holds the active Python."""
    env = os.environ | {"PATH": f"{active}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    return subprocess.run([str(tool), "--help"], capture_output=True, text=True, env=env, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository's scripts and package; the active Python has the standard library alone."""
    for name in ("scripts", "rdrop_fairseq"):
        shutil.copytree(SCRIPTS.parent / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    write_python(tmp_path / "bare/python3", "-S")
    return tmp_path / "copy"


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="not in a virtual environment")
@pytest.mark.parametrize("tool", TOOLS)
def test_the_python_of_the_repository_takes_over_where_the_active_one_lacks_modules(copy, tool):
    missing = typed(copy / "scripts" / tool, copy.parent / "bare")
    assert missing.returncode != 0 and missing.stdout == ""
    assert missing.stderr.startswith("not installed: ") and missing.stderr.count("\n") == 1
    assert missing.stderr.endswith("; run make install, or activate the environment that has it\n")
    (copy / ".venv").symlink_to(sys.prefix)
    found = typed(copy / "scripts" / tool, copy.parent / "bare")
    assert found.returncode == 0 and found.stdout.startswith(f"usage: {tool}"), found.stderr
    assert found.stderr == ""


def test_the_active_python_is_taken_where_it_has_the_modules(tmp_path):
    write_python(tmp_path / "active/python3")
    found = typed(SCRIPTS / "report.py", tmp_path / "active")
    assert found.returncode == 0 and found.stdout.startswith("usage: report.py"), found.stderr
