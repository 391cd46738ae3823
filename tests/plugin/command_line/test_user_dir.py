"""The plugin as users name it: by a path from the README, and by the bare name of an installed package."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import fairseq
from support.command_line import (
    BIN,
    GENERATE,
    ONE_CPU,
    RDROP,
    TINY,
    TRAIN,
    USER_DIR,
    run,
    run_as_program,
    run_program,
    train_argv,
)
from support.places import ROOT


def documented_command(program: str, data: Path) -> list[str]:
    """Return the first call of ``program`` in docs/translation.md, with ``data`` for DATA."""
    command = re.search(
        rf"^    {program} DATA (?:.*\\\n)*.*", (ROOT / "docs/translation.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    return [str(data) if word == "DATA" else word for word in shlex.split(command[0].replace("\\\n", ""))]


def test_the_documented_commands(data, tmp_path):
    program, *argv = documented_command("fairseq-train", data)
    tiny = [*ONE_CPU, *TINY, "--max-update", "1", "--log-format", "json", "--log-interval", "1", "--save-dir", tmp_path]
    assert program == "fairseq-train" and (BIN / program).is_file()
    trained = run_as_program(TRAIN, *argv, *tiny, cwd=ROOT)
    assert trained.status == 0, trained.stderr
    assert trained.updates[0]["rdrop_alpha"] == 5

    _, *argv = documented_command("fairseq-generate", data)
    generated = run(GENERATE, *argv, "--path", tmp_path / "checkpoint_best.pt", "--cpu", "--max-len-b", "10", cwd=ROOT)
    assert "Generate test with beam=5: BLEU4" in generated.stdout


# --user-dir (most tests give the absolute path, the documented command above the relative one)


def test_user_dir_by_the_bare_name_of_an_installed_package(data, tmp_path):
    source, site, elsewhere = (tmp_path / name for name in ("source", "site-packages", "elsewhere"))
    elsewhere.mkdir()
    shutil.copytree(USER_DIR, source / "rdrop_fairseq")
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation"]
    installed = run_program([*pip, "--target", site, source], cwd=elsewhere)
    assert installed.status == 0, installed.stderr
    # fairseq looks for the package beside itself: in the same site-packages, which here holds links to its files.
    shutil.copytree(Path(fairseq.__file__).parent, site / "fairseq", copy_function=os.symlink)

    argv = train_argv(data, *RDROP, "--max-update", "1", user_dir="rdrop_fairseq")
    command = [sys.executable, "-c", "from fairseq_cli.train import cli_main; cli_main()", *argv]
    result = run_program(command, cwd=elsewhere, PYTHONPATH=os.pathsep.join([str(site), os.environ["PYTHONPATH"]]))
    assert result.status == 0, result.stderr
    assert result.updates[0]["rdrop_alpha"] == 5
