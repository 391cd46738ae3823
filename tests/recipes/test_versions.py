"""The versions that a measurement names: the commit, with git, without git, and if git refuses."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from recipes import versions


def put_git(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str | None) -> None:
    """Let this script be the git that is found; None: no git is."""
    folder.mkdir()
    if script is not None:
        (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.parametrize(
    "script, found",
    [
        ("echo v1-3-gabc-dirty", "v1-3-gabc-dirty"),
        (None, "unknown"),
        ("echo 'fatal: detected dubious ownership in repository' >&2; exit 128", "unknown"),
        ("echo half; exit 1", "unknown"),
    ],
)
def test_the_commit_is_what_git_says_or_unknown(tmp_path, monkeypatch, script, found):
    put_git(tmp_path / "bin", monkeypatch, script)
    assert versions.versions().splitlines()[0] == f"rdrop_fairseq {found}"


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_a_folder_without_a_repository_is_not_the_one_around_it(tmp_path, monkeypatch):
    (tmp_path / "copy").mkdir()
    monkeypatch.setattr(versions, "ROOT", tmp_path / "copy")
    identity = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for command in (["init", "-q"], ["-c", "commit.gpgsign=false", "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *command], cwd=tmp_path, env=os.environ | identity, check=True)
    assert versions.commit() == "unknown"
    shutil.move(tmp_path / ".git", tmp_path / "copy")
    assert len(versions.commit()) >= 7 and versions.commit() != "unknown"
