"""The versions that a measurement names: the commit, with git, without git, and if git refuses."""

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
        ("test $2 = status || echo v1-3-gabc", "v1-3-gabc"),
        ("test $2 = status && echo ' M setup.py' || echo v1-3-gabc", "v1-3-gabc-dirty"),
        (None, "unknown"),
        ("echo 'fatal: detected dubious ownership in repository' >&2; exit 128", "unknown"),
        ("echo half; exit 1", "unknown"),
    ],
)
def test_the_commit_is_what_git_says_or_unknown(tmp_path, monkeypatch, script, found):
    put_git(tmp_path / "bin", monkeypatch, script)
    assert versions.versions().splitlines()[0] == f"rdrop_fairseq {found}"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Return a repository with one commit, which `versions` takes for its own."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "x")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "x")
    folder = tmp_path / "repository"
    for name in ("setup.py", "results/demo/table.md", "results/demo/search.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("as it was\n")
    for command in (["init", "-q"], ["add", "."], ["-c", "commit.gpgsign=false", "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    monkeypatch.setattr(versions, "ROOT", folder)
    return folder


def test_a_folder_without_a_repository_is_not_the_one_around_it(repository, monkeypatch):
    own = versions.commit()
    assert len(own) >= 7 and own != "unknown"
    (repository / "copy").mkdir()
    monkeypatch.setattr(versions, "ROOT", repository / "copy")
    assert versions.commit() == "unknown"


@pytest.mark.parametrize("changed", ["setup.py", "results/demo/search.yaml"])
def test_the_results_of_an_earlier_study_do_not_make_the_commit_dirty(repository, changed):
    clean = versions.commit()
    for name in ("results/demo/table.md", "results/demo/new.md"):
        (repository / name).write_text("another\n")
    assert versions.commit() == clean and not clean.endswith("-dirty")
    (repository / changed).write_text("another\n")
    assert versions.commit() == f"{clean}-dirty"
