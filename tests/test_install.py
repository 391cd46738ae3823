"""Run scripts/install.sh with a Python whose venv and pip do nothing: what it prints, and what it asks pip for."""

import shutil
import subprocess
from pathlib import Path

import pytest
from support.places import ROOT
from support.waiting import HANG

# It stands in for the compiler too, which is looked for where fairseq has no wheel.
PYTHON = """#!/bin/bash
case "$*" in
    -c*version_info*) echo 3.12 ;;
    *'version("torch")'*) [[ -z $TORCH ]] || echo "$TORCH" ;;
    "-m venv "*) mkdir -p "$3/bin" && touch "$3/bin/activate" && cp -u "$0" "$3/bin/python" 2>/dev/null || true ;;
    *"pip "*)
        echo "$*" >>pip.log
        [[ -z $FAIL || "$*" != *"$FAIL"* ]] || { echo "no such package" >&2; exit 1; }
        [[ " $* " == *" -q "* ]] || printf 'Requirement already satisfied\\n%.0s' {1..300} ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return the repository without what is not installed, and such a Python."""
    for name in ("setup.py", "pyproject.toml", "constraints.txt", "scripts/install.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("python", "c++"):
        (tmp_path / name).write_text(PYTHON)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def install(clone: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{clone}:/usr/bin:/bin", "PYTHON": str(clone / "python"), "TORCH": "", "FAIL": "", **env}
    command = [clone / "scripts/install.sh", *options]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=HANG)


def test_a_line_for_each_stage_and_nothing_the_second_time(clone: Path) -> None:
    result = install(clone)
    assert (result.returncode, result.stderr) == (0, "")
    first, *stages, last = result.stdout.splitlines()
    assert first.startswith("Installing into .venv: Python 3.12")
    assert [stage[:6] for stage in stages] == ["[1/3] ", "[2/3] ", "[3/3] "]
    assert last.startswith("Installed in ")
    assert "-e .[test,plots,examples]" in (clone / "pip.log").read_text().splitlines()[-1]
    assert (install(clone).stdout, len((clone / "pip.log").read_text().splitlines())) == ("", 4)


def test_a_torch_that_is_there_is_named_and_kept(clone: Path) -> None:
    assert "[1/3] PyTorch 2.6.0, which is there" in install(clone, TORCH="2.6.0").stdout
    constraints = (clone / ".venv/constraints.txt").read_text()
    assert "\ntorch==2.6.0\n" in constraints
    assert "torchvision==" not in constraints  # the one that is pinned wants another torch


def test_torchvision_is_pinned_for_the_pinned_torch_in_any_build(clone: Path) -> None:
    install(clone, TORCH="2.13.0+cpu")
    constraints = (clone / ".venv/constraints.txt").read_text()
    assert "\ntorch==2.13.0+cpu\n" in constraints
    assert "\ntorchvision==" in constraints


def test_a_stage_that_fails_ends_it_and_says_why(clone: Path) -> None:
    result = install(clone, FAIL="fairseq-fixed")
    assert result.returncode != 0
    assert result.stderr.splitlines()[-1] == "install.sh: fairseq could not be installed; the log above says why"
    assert "no such package" in result.stderr
    assert not (clone / ".venv/.installed").exists()
    assert install(clone).returncode == 0


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_the_header_and_installs_nothing(clone: Path, option: str) -> None:
    result = install(clone, option)
    assert (result.returncode, result.stderr) == (0, "")
    assert (
        result.stdout.startswith("Make .venv") and "\nUsage: [PYTHON=python3.12] scripts/install.sh\n" in result.stdout
    )
    assert not (clone / ".venv").exists()


def test_an_option_that_it_does_not_know_is_refused(clone: Path) -> None:
    result = install(clone, "--fast")
    assert (result.returncode, result.stderr) == (1, "install.sh: unknown option '--fast' (see --help)\n")


def test_with_cdpath_it_works_in_the_repository(clone: Path) -> None:
    result = install(clone, CDPATH=str(clone.parent))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Installing into .venv")
