"""What all prepare scripts share: runs again, results of other scripts, sources and options that they cannot use."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.prepare import BIN, SCRIPTS, content, environment, pack, prepared, refused, run, stub_fairseq
from test_prepare_iwslt import german, modern
from test_prepare_multi30k import write as write_multi30k
from test_prepare_text import write as write_text
from test_prepare_wikitext import write as write_wikitext
from test_prepare_wmt14 import EUROPARL
from test_prepare_wmt14 import write as write_wmt

TEXT, MULTI30K, IWSLT14, IWSLT17, WMT14, WIKITEXT2, DEMO = FOUND = [
    f"prepare_{name}.sh" for name in ("text", "multi30k", "iwslt14", "iwslt17", "wmt14", "wikitext2", "demo")
]
UNREADABLE = {  # a file of each source, without which nothing can be made
    TEXT: "train.en",
    MULTI30K: "train.de",
    IWSLT14: "de-en.tgz",
    IWSLT17: "zh-en.tgz",
    WMT14: EUROPARL,
    WIKITEXT2: "train.txt",
}
FIRST = {IWSLT14: "text", IWSLT17: "text", WMT14: "text"}  # the folder of the first step, or else raw
needs_proc = pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc")


def write_source(script: str, folder: Path) -> None:
    """Write a stand-in for the source of a script."""
    if script == IWSLT14:
        pack(folder / "de-en.tgz", german())
    elif script == IWSLT17:
        pack(folder / "zh-en.tgz", modern("zh-en", "我来到北京清华大学 & {}。"))
    elif script != DEMO:
        {TEXT: write_text, MULTI30K: write_multi30k, WMT14: write_wmt, WIKITEXT2: write_wikitext}[script](folder)


def options_of(script: str, source: Path) -> list[object]:
    own = {TEXT: ["--pair", "de-en"], IWSLT14: ["de-en"], IWSLT17: ["zh-en"], WMT14: ["en-de"]}
    from_source = [] if script == DEMO else ["--from", source]
    merges = [] if script in (DEMO, WIKITEXT2) else ["--bpe", 40]
    return [*own.get(script, []), *from_source, *merges, "--workers", 2]


class Made:
    """What a script made of its stand-in, with a fairseq-preprocess that does nothing."""

    def __init__(self, script: str, folder: Path) -> None:
        self.script, self.source, self.out = script, folder / "source", folder / "out"
        write_source(script, self.source)
        self.options = options_of(script, self.source)
        self.env = {"PYTHONPATH": stub_fairseq(folder)}
        prepared(script, *self.options, "--out", self.out, plain=True, **self.env)

    def copy(self, folder: Path) -> Path:
        return shutil.copytree(self.out, folder / "out")


@pytest.fixture(scope="module", params=FOUND)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(request.param, tmp_path_factory.mktemp("made"))


def state(out: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file below a folder with its bytes and the time at which it was written."""
    return {name: (data, (out / name).stat().st_mtime_ns) for name, data in content(out).items()}


def test_a_run_again_changes_nothing(made: Made) -> None:
    before = state(made.out)
    printed = prepared(made.script, *made.options, "--out", made.out, plain=True, **made.env)
    assert "bin: done before" in printed and "done in" not in printed
    assert state(made.out) == before


def test_settings_that_do_not_name_the_script_are_accepted(made: Made, tmp_path: Path) -> None:
    """They are of data that was prepared before settings named it."""
    settings = (made.out / "settings").read_text().splitlines(keepends=True)
    assert settings.pop(0) == f"script: {made.script}\n"
    out = made.copy(tmp_path)
    (out / "settings").write_text("".join(settings))
    before = state(out)
    printed = prepared(made.script, *made.options, "--out", out, plain=True, **made.env)
    assert "bin: done before" in printed and "done in" not in printed
    assert state(out) == before
    settings.append("fish: yes\n")
    (out / "settings").write_text("".join(settings))
    line = refused(made.script, *made.options, "--out", out, plain=True, **made.env)
    assert "was made with fish: yes, not with no fish" in line


def test_the_result_of_another_script_is_refused(made: Made, tmp_path: Path) -> None:
    """Settings and folders that stand in for it: nothing of them goes."""
    out = tmp_path / "out"
    other = MULTI30K if made.script == TEXT else TEXT
    for folder in ("raw", "tok", "bpe", "bin"):
        (out / folder).mkdir(parents=True)
        (out / folder / "train.de").write_text("alt\n")
    (out / ".prepare.lock").touch()
    settings = (made.out / "settings").read_text()
    (out / "settings").write_text(settings.replace(made.script, other))
    before = state(out)
    line = refused(made.script, *made.options, "--out", out, plain=True, **made.env)
    assert f"{out} was made with script: {other}, not with script: {made.script}; use another --out" in line
    assert state(out) == before


def test_no_step_goes_before_the_new_one_is_there(made: Made, tmp_path: Path) -> None:
    out = made.copy(tmp_path)
    first = FIRST.get(made.script, "raw")
    shutil.rmtree(out / first)
    before = state(out)
    refused(made.script, *made.options, "--out", out, plain=True, limit=0, **made.env)
    assert {name: made for name, made in state(out).items() if not name.startswith(".part.")} == before
    assert not (out / first).exists()


@needs_proc
def test_a_source_that_cannot_be_read_is_one_line(made: Made, tmp_path: Path) -> None:
    """A file that is there, and fails when it is read, even for root."""
    if made.script == DEMO:
        pytest.skip("has no source")
    source, out = shutil.copytree(made.source, tmp_path / "source"), tmp_path / "out"
    for file in source.glob(f"{UNREADABLE[made.script]}*"):
        file.unlink()
    (source / UNREADABLE[made.script]).symlink_to("/proc/self/mem")
    line = refused(made.script, *options_of(made.script, source), "--out", out, plain=True, **made.env)
    assert "Input/output error" in line
    assert not (out / "settings").exists() and not (out / FIRST.get(made.script, "raw")).exists()


@pytest.mark.parametrize("script", [TEXT, IWSLT14])
def test_a_digest_that_is_killed_ends_the_run(script: str, tmp_path: Path) -> None:
    """Not with settings that lack the source."""
    scripts = shutil.copytree(SCRIPTS, tmp_path / "repository" / "scripts")
    (scripts / "digest.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    write_source(script, tmp_path / "source")
    options = (*options_of(script, tmp_path / "source"), "--out", tmp_path / "out")
    assert run(script, *options, scripts=scripts, plain=True).returncode != 0
    assert content(tmp_path / "out") == {".prepare.lock": b""}


@pytest.mark.parametrize("script", FOUND)
@pytest.mark.parametrize("number", ["½", "²", "٣", "2147483648", "99999999999999999999"])
def test_numbers_that_are_refused(script: str, number: str, tmp_path: Path) -> None:
    """Also in a locale in which ½ stands between 0 and 9."""
    own = options_of(script, tmp_path)
    line = refused(script, *own[:-1], number, "--out", tmp_path / "out", plain=True, LC_ALL="C.UTF-8")
    allowed = "an integer up to 2147483647" if number.isascii() else "a positive integer"
    assert f"--workers must be {allowed}, not '{number}'" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a:b", "a${b}", "a\nb"])
def test_a_folder_that_training_cannot_take_is_refused(made: Made, name: str, tmp_path: Path) -> None:
    line = refused(made.script, *made.options, "--out", tmp_path / name / "out", plain=True, **made.env)
    assert "--out: " in line
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("script", [IWSLT14, WMT14, TEXT])
def test_odd_paths(script: str, tmp_path: Path) -> None:
    """A leading dash, a comma, a blank, an equals sign, none of which a tool takes for something else."""
    write_source(script, tmp_path / "-in=1, 2")
    arguments = [SCRIPTS / script, *options_of(script, Path("-in=1, 2")), "--out", "-x=1, 2"]
    env = environment(PYTHONPATH=stub_fairseq(tmp_path), CDPATH="/")
    result = subprocess.run(list(map(str, arguments)), cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"The data is in {tmp_path}/-x=1, 2/bin" in result.stdout


SHELL_SCRIPTS = [path for pattern in ("scripts/*.sh", "benchmarks/*.sh", ".ci/run")
                 for path in SCRIPTS.parent.glob(pattern)]  # fmt: skip


def test_every_script_does_without_cdpath() -> None:
    root = SCRIPTS.parent
    texts = {path.name: path.read_text() for path in SHELL_SCRIPTS}
    assert len(texts) > 10
    for name, text in texts.items():
        assert "unset CDPATH" in text or "/lib.sh" in text or "/wikitext.sh" in text or name == "lib_archives.sh", name
    env = {**os.environ, "CDPATH": f"{root.parent}:{root}"}
    lib = ["bash", "-c", 'source scripts/lib.sh; echo "$ROOT"']
    assert subprocess.run(lib, cwd=root, env=env, capture_output=True, text=True).stdout == f"{root}\n"


def test_ci_run_finds_the_repository_with_cdpath(tmp_path: Path) -> None:
    """Where another .ci stands in a folder of CDPATH."""
    (tmp_path / "other" / ".ci").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    make = tmp_path / "bin" / "make"
    make.write_text("#!/bin/sh\npwd\n")
    make.chmod(0o755)
    env = {**os.environ, "CDPATH": str(tmp_path / "other"), "PATH": f"{make.parent}:{os.environ['PATH']}"}
    result = subprocess.run(["bash", ".ci/run"], cwd=SCRIPTS.parent, env=env, capture_output=True, text=True)
    assert result.stdout == f"{SCRIPTS.parent}\n" * 2, result.stderr


def test_a_script_needs_no_git(tmp_path: Path) -> None:
    """On a path with Python and the programs that the scripts name."""
    for name in ("awk", "bash", "cat", "dirname", "env", "flock", "grep", "ln", "ls", "mkdir", "mv", "nproc", "paste",
                 "rm", "rmdir", "sed", "sort"):  # fmt: skip
        if program := shutil.which(name):
            (tmp_path / name).symlink_to(program)
    (tmp_path / "python3").write_text(f'#!/bin/sh\nexec "{BIN}/python3" "$@"\n')
    (tmp_path / "python3").chmod(0o755)
    source = write_text(tmp_path / "source")
    env = {"PATH": str(tmp_path), "PYTHONPATH": stub_fairseq(tmp_path)}
    prepared(TEXT, *options_of(TEXT, source), "--out", tmp_path / "out", plain=True, **env)
