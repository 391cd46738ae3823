"""What holds for every shell script: it does without CDPATH, and preparation needs no program but Python."""

import os
import subprocess
from pathlib import Path

from support.places import BIN, ROOT, SCRIPTS
from support.prepare import command, typed
from support.sources import write_text

SHELL_SCRIPTS = [path for pattern in ("scripts/*.sh", "benchmarks/*.sh", ".ci/run") for path in ROOT.glob(pattern)]


def test_every_script_does_without_cdpath() -> None:
    texts = {path.name: path.read_text() for path in SHELL_SCRIPTS}
    assert len(texts) > 10
    for name, text in texts.items():
        assert "unset CDPATH" in text or "/start.sh" in text, name
    assert "unset CDPATH" in (SCRIPTS / "recipes" / "start.sh").read_text()
    env = {**os.environ, "CDPATH": f"{ROOT.parent}:{ROOT}"}
    done = subprocess.run(
        ["bash", "scripts/prepare_demo.sh", "--help"], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert "Usage: scripts/prepare_demo.sh" in done.stdout and done.stderr == ""


def test_ci_run_finds_the_repository_with_cdpath(tmp_path: Path) -> None:
    """Where another .ci stands in a folder of CDPATH."""
    (tmp_path / "other" / ".ci").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    make = tmp_path / "bin" / "make"
    make.write_text("#!/bin/sh\npwd\n")
    make.chmod(0o755)
    env = {**os.environ, "CDPATH": str(tmp_path / "other"), "PATH": f"{make.parent}:{os.environ['PATH']}"}
    result = subprocess.run(
        ["bash", ".ci/run"], cwd=SCRIPTS.parent, env=env, capture_output=True, text=True, check=False
    )
    assert result.stdout == f"{SCRIPTS.parent}\n" * 2, result.stderr


def test_a_script_needs_no_git(tmp_path: Path) -> None:
    """On a path with Python and the programs that the scripts name: env, bash and dirname."""
    for name in ("bash", "dirname", "env"):
        program = next(Path(folder, name) for folder in os.environ["PATH"].split(":") if Path(folder, name).exists())
        (tmp_path / name).symlink_to(program)
    (tmp_path / "python3").write_text(f'#!{tmp_path}/bash\nexec "{BIN}/python3" "$@"\n')
    (tmp_path / "python3").chmod(0o755)
    (tmp_path / "fairseq_cli").mkdir()
    (tmp_path / "fairseq_cli" / "__init__.py").touch()
    (tmp_path / "fairseq_cli" / "preprocess.py").write_text("raise SystemExit\n")
    options = ("--from", write_text(tmp_path / "source"), "--pair", "de-en", "--out", tmp_path / "out")
    result = typed(command("prepare_text.sh", *options), PATH=str(tmp_path), PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
