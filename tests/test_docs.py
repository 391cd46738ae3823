"""README, docs, CONTRIBUTING and the headers of configs: what they show works.

bash runs each block of commands, with stand-ins that write down how the scripts and fairseq's programs are called. Then
fairseq's programs run, at a tiny size; the options of a script are read by its own parser. The first example of README
runs from two text files to a translation. Blocks of Python run, links lead to files, and scores are those in results/.
"""

import argparse
import gzip
import importlib
import os
import re
import subprocess
from collections.abc import Callable
from functools import partial
from importlib.metadata import metadata
from pathlib import Path

import pytest
from support import command_line
from support.documents import (
    CONFIGS,
    DOCUMENTS,
    blocks_of,
    check_header,
    check_settings,
    commands_of,
    is_python,
    name_of,
)
from support.examples import FILES
from support.libraries import import_what_is_there
from support.places import ROOT
from support.preprocess import fairseq_in_a_fork
from support.waiting import HANG

EXAMPLE = "make install\nmkdir text"  # from two text files to a translation
PROGRAMS = "fairseq-preprocess fairseq-train fairseq-generate fairseq-hydra-train pip git make tensorboard".split()
# The stand-in of a program or script: it writes down its name and arguments, and git clone makes its folder.
STAND_IN = (
    '#!/bin/bash\nprintf "%s\\0" "$0" "$@" >>"$CALLS"\nprintf "\\n" >>"$CALLS"\n[[ $1 != clone ]] || mkdir -p "$3"\n'
)
RUNS_REST = '#!/bin/bash\nexec "$@"\n'  # that of srun, and of python before a script

SMALL = ("embed-dim=16", "ffn-embed-dim=16", "layers=1", "attention-heads=2")
SMALL_MODEL = [f"model.{side}.{flag.replace('-', '_')}" for side in ("encoder", "decoder") for flag in SMALL]
SIDES = {"rdrop_translation": ("encoder", "decoder"), "rdrop_sentence_prediction": ("encoder",)}  # others: decoder
TINY = {
    "fairseq-preprocess": (),
    "fairseq-train": ("--cpu", "--max-update=2", "--num-workers=0"),
    "fairseq-generate": ("--cpu", "--num-workers=0", "--max-len-b=5"),
    "fairseq-hydra-train": (
        *("common.cpu=true", "optimization.max_update=2", "dataset.num_workers=0", "checkpoint.no_save=true"),
        *(f"+{setting.replace('coder.', 'coder_')}" for setting in SMALL_MODEL),
    ),
}
TINY_SCRIPT = {
    "prepare_text.sh": ("--workers=1",),
    "train.sh": (
        *("--cpu-processes=1", "optimization.max_update=2", "generation={beam: 2, max_len_b: 5}", *SMALL_MODEL),
        *("checkpoint.save_interval_updates=2", "dataset.validate_interval_updates=2"),
    ),
    "evaluate_translation.sh": (),
    "translate.sh": (),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where blocks run: stand-ins for all programs and scripts, the plugin, configs, and text for what takes some."""
    for name in ("rdrop_fairseq", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    for path in [*ROOT.glob("scripts/*.*"), *ROOT.glob("benchmarks/*.*"), *FILES]:
        write_program(tmp_path / path.relative_to(ROOT), STAND_IN)
    for name in PROGRAMS:
        write_program(tmp_path / "programs" / name, STAND_IN)
    for name in ("srun", "python"):
        write_program(tmp_path / "programs" / name, RUNS_REST)
    for name in ("TEXT", "TATOEBA", "CLUE", "GLUE", "ROBERTA", "SCITLDR", "CNN_DM", "BART", "CSL"):
        (tmp_path / name).mkdir()
    for split, lines in (("train", 12), ("valid", 3), ("test", 3)):
        for ending in ("de", "en", "txt"):
            (tmp_path / f"TEXT/{split}.{ending}").write_text(f"{ending}1 {ending}2 {ending}3 {ending}4\n" * lines)
        for ending in ("input0", "input1"):
            (tmp_path / f"TEXT/{split}.{ending}").write_text("a sentence\n" * lines)
        (tmp_path / f"TEXT/{split}.label").write_text("0\n1\n1\n" * (lines // 3))
    (tmp_path / "MONO.de").write_text("de1 de2 de3 de4\n")
    write_program(tmp_path / ".venv/bin/activate", "")  # the programs are stand-ins
    return tmp_path


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def calls(block: str, folder: Path) -> list[list[str]]:
    """Run a block in bash; return the name and the arguments of each script and program that it starts."""
    written = folder / "calls"
    written.write_text("")
    env = {**os.environ, "PATH": f"{folder}/programs:{os.environ['PATH']}", "CALLS": str(written)}
    done = subprocess.run(
        ["bash", "-euc", block], cwd=folder, env=env, capture_output=True, text=True, timeout=HANG, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    found = [line.split("\0")[:-1] for line in written.read_text().split("\n") if line]
    return [[name.removeprefix(f"{folder}/").removeprefix("programs/"), *words] for name, *words in found]


class OptionsRead(Exception):  # noqa: N818 (it is no error)
    """A script has read its options."""


def command_behind(script: Path) -> tuple[str, list[str]] | None:
    """Return the module behind a script and the arguments that it always gets; None if there is no module."""
    text = script.read_text(encoding="utf-8")
    if found := re.search(r'start\.sh" (\S+).* -- (.*)"\$@"', text):
        return f"recipes.{found[1]}", found[2].split()
    if found := re.search(r'start\(__file__, "([\w.]+)"', text):
        return f"recipes.{found[1]}", []
    return (script.stem, []) if script.suffix == ".py" else None


def main_of(name: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[], None] | None:
    """Return the main function behind a script, which will read these words as its arguments."""
    if (command := command_behind(ROOT / name)) is None:
        return None
    if name.startswith("examples/"):
        import_what_is_there()
    main = importlib.import_module(command[0]).main
    if name.startswith("scripts/"):
        return partial(main, [*command[1], *words])
    monkeypatch.setattr("sys.argv", [name, *words])
    return main


def check_script(name: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that a script exists, that it can be run as it is named, and that its own parser takes the options."""
    script = ROOT / name
    assert script.is_file() and (script.suffix == ".py" or os.access(script, os.X_OK)), name
    if (main := main_of(name, words, monkeypatch)) is None:
        return check_header(script, words)
    for method in ("parse_args", "parse_intermixed_args"):
        parse = getattr(argparse.ArgumentParser, method)

        def stop(*args, parse=parse):
            raise OptionsRead(parse(*args))

        monkeypatch.setattr(argparse.ArgumentParser, method, stop)
    with pytest.raises(OptionsRead):
        main()
    monkeypatch.undo()
    if script.name == "train.sh":
        check_settings([word for word in words if "=" in word and not word.startswith("--")])


def run_fairseq(program: str, words: list[str], folder: Path) -> None:
    """Run one of fairseq's programs as it is called, with a small model and for two updates."""
    tiny = TINY[program]
    if program == "fairseq-train":
        (sides,) = [of for task, of in SIDES.items() if task in words] or [("decoder",)]
        tiny += tuple(f"--{side}-{flag}" for side in sides for flag in SMALL)
    if program == "fairseq-hydra-train" and not (folder / "DATA").exists():
        command_line.make_data(folder / "TEXT").rename(folder / "DATA")
    module = "fairseq_cli." + program.removeprefix("fairseq-").replace("-", "_")
    if program == "fairseq-hydra-train":  # with the plugin imported beforehand, it merges other defaults
        done = command_line.run_as_program(module, *words, *tiny, cwd=folder)
        assert done.status == 0, done.stderr
        return
    # The processes of command_line have imported the plugin, and fairseq takes it from one path alone.
    words = [command_line.USER_DIR if word == "rdrop_fairseq" else word for word in words]
    command_line.run(module, *words, *tiny, cwd=folder)


def check_pip(words: list[str]) -> None:
    """Check the options, and that the package has the extras."""
    flags = {word for word in words if word.startswith("-")}
    assert words[0] == "install" and flags <= {"-q", "--no-build-isolation", "--no-deps"}
    extras = {extra for word in words for found in re.findall(r"\.\[(.*)\]", word) for extra in found.split(",")}
    assert extras <= set(metadata("rdrop_fairseq").get_all("Provides-Extra"))


def check(name: str, words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check one call of a program or a script."""
    if name.startswith(("scripts/", "benchmarks/", "examples/")):
        monkeypatch.chdir(folder)
        check_script(name, words, monkeypatch)
    elif name in TINY:
        run_fairseq(name, words, folder)
    elif name == "pip":
        check_pip(words)
    elif name == "make":
        subprocess.run(["make", "-n", *words], cwd=ROOT, check=True, capture_output=True, timeout=HANG)
    else:
        assert (name, *words) in {("git", "clone", "ADDRESS", "rdrop_fairseq"), ("tensorboard", "--logdir", "runs")}


@pytest.mark.parametrize("document", [file for file in [*DOCUMENTS, *CONFIGS] if commands_of(file)], ids=name_of)
def test_commands(document: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in commands_of(document):
        if not block.startswith(EXAMPLE):
            for name, *words in calls(block, folder):
                check(name, words, folder, monkeypatch)


def test_from_two_text_files_to_a_translation(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    (block,) = (block for block in blocks_of(ROOT / "README.md") if block.startswith(EXAMPLE))
    translations = folder / "runs/mine/evaluation/best/test.txt"
    translations.parent.mkdir(parents=True)
    translations.write_text("")
    for lang in ("de", "en"):
        lines = (f"{lang}{i % 7} {lang}{i % 5} {lang}{i % 3} .\n" for i in range(60))
        (folder / f"corpus.{lang}").write_text("".join(lines))
    # The validation and the test set get 10 sentences instead of 1000, and the BPE 40 merges.
    started = calls(block.replace("00", ""), folder)
    assert [name for name, *_ in started] == ["make", *(f"scripts/{name}" for name in TINY_SCRIPT)]
    for name, *words in started[1:]:
        words = [re.sub(r"\b(data|runs)/mine", rf"{folder}/\1/mine", word) for word in words]
        words += TINY_SCRIPT[Path(name).name]
        if name == "scripts/train.sh":
            command_line.run("support.forked_training", *words, cwd=folder)
        else:
            with fairseq_in_a_fork(), (folder / "TEXT/valid.de").open(encoding="utf-8") as text:
                monkeypatch.setattr("sys.stdin", text)
                capsys.readouterr()
                main_of(name, words, monkeypatch)()
    assert len(translations.read_text().splitlines()) == 10
    assert capsys.readouterr().out.count("\n") == 3


def test_the_data_set_that_is_added(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that the data set of CONTRIBUTING finds its files, names those that are missing, and has all steps."""
    (block,) = (block for block in blocks_of(ROOT / "CONTRIBUTING.md") if is_python(block))
    names: dict = {}
    exec(compile(block, "news.py", "exec"), names)
    with pytest.raises(SystemExit, match=r"has no train\.de"):
        names["main"](["--from", str(folder / "TATOEBA"), "--out", str(folder / "news"), "--bpe", "40"])
    for file in (folder / "TEXT").glob("*.[de][en]"):
        (folder / "TATOEBA" / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    prepared = []
    monkeypatch.setattr("recipes.data.parallel_files.prepare", lambda *given, **_: prepared.append(given))
    names["main"](["--from", str(folder / "TATOEBA"), "--out", str(folder / "news")])
    ((out, settings, steps, digests),) = prepared
    assert (out, settings.testsets) == (folder / "news", ["test"])
    assert {step.name: step.is_wanted for step in steps} == {
        name: name != "both" for name in "raw tok bpe bin both".split()
    }
    assert set(digests()) == {f"{name}.{lang}.gz" for name in ("train", "valid", "test") for lang in ("de", "en")}
