"""README.md: each of its command blocks runs, at tiny size, or is read by the parser of what it names.

fairseq's commands train and translate. A prepare script reads its options and then misses a folder, for the texts would
be downloaded; train.sh and what evaluates read theirs, and then miss data or a run.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path

import pytest
import reference
import torch
from support import command_line
from support.learned_run import tool
from support.places import ROOT
from support.waiting import HANG

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [
    block.replace("\n    ", "\n").strip() for block in re.findall(r"(?:(?<=\n\n)|^)    (?:.+\n|\n(?=    ))+", README)
]
NO_COMMANDS = ("loss = L(p1)", "@inproceedings")
PYTHON = "from rdrop_fairseq.divergence import"

SMALL = ("embed-dim=16", "ffn-embed-dim=16", "layers=1", "attention-heads=2")
TRAINING = ("--cpu", "--max-update=2", "--num-workers=0", *(f"--decoder-{flag}" for flag in SMALL))
TINY = {
    "fairseq-preprocess": (),
    "fairseq-train": TRAINING,
    "fairseq-generate": ("--cpu", "--num-workers=0", "--max-len-b=5"),
    "fairseq-hydra-train": (
        *("common.cpu=true", "optimization.max_update=2", "dataset.num_workers=0", "checkpoint.no_save=true"),
        *(f"+model.{side}_{flag.replace('-', '_')}" for side in ("encoder", "decoder") for flag in SMALL),
    ),
}
# The parser of this Python takes all that find_python asks; any other call of it is written down.
PYTHON3 = '#!/bin/bash\n[[ $1 == -P ]] || printf "%s\\n" "$@" >"$CALL"\n'


def commands(block: str) -> Iterator[list[str]]:
    """Yield the words of each command in a block."""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while "&&" in words:
            yield words[: words.index("&&")]
            words = words[words.index("&&") + 1 :]
        if words:
            yield words


def title(block: str) -> str:
    return re.sub(r"\W+", "_", block.splitlines()[0])[:50]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a block runs: with the plugin, and text for two languages and for one."""
    (tmp_path / "rdrop_fairseq").symlink_to(ROOT / "rdrop_fairseq")
    texts = tmp_path / "TEXT"
    texts.mkdir()
    for split, lines in (("train", 12), ("valid", 3), ("test", 3)):
        for ending in ("de", "en", "txt"):
            (texts / f"{split}.{ending}").write_text(f"{ending}1 {ending}2 {ending}3 {ending}4\n" * lines)
    return tmp_path


def run_fairseq(words: list[str], folder: Path) -> None:
    """Run one of fairseq's commands as it stands, on a small model, for two updates."""
    program, *options = [word.replace("$PWD", str(folder)) for word in words]
    tiny = TINY[program]
    if program == "fairseq-train" and "rdrop_translation" in options:
        tiny += tuple(f"--encoder-{flag}" for flag in SMALL)
    entry = "fairseq_cli." + program.removeprefix("fairseq-").replace("-", "_")
    command_line.run(entry, *options, *tiny, cwd=folder)


def run_script(words: list[str], folder: Path) -> None:
    """Run one of scripts/ so far that its options are read."""
    script, *options = words[1:] if words[0] == "srun" else words
    assert os.access(ROOT / script, os.X_OK), script
    if script.endswith(".py"):
        return check_tool(Path(script).stem, options)
    if "/prepare_" in script:
        options += ["--from", "/none"]
    (folder / "python3").write_text(PYTHON3)
    (folder / "python3").chmod(0o755)
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "CALL": str(folder / "call")}
    done = subprocess.run([ROOT / script, *options], cwd=ROOT, env=env, capture_output=True, text=True, timeout=HANG)
    if "/prepare_" in script:
        assert done.returncode != 0 and done.stderr.count("\n") == 1 and "'/none'" in done.stderr, done.stderr
        return
    assert (done.returncode, done.stderr) == (0, "")
    name, *call = (folder / "call").read_text().splitlines()
    if Path(name).name == "tool.py":
        name, *call = call
    check_tool(Path(name).stem, call)


def check_tool(name: str, options: list[str]) -> None:
    """Check that a Python tool reads the options, and then misses the run or the data."""
    options = [str(ROOT / word) if word.startswith("configs/") else word for word in options]
    result = tool(name, *options, *(["task.data=/none"] if name == "launch" else []))
    missed = "/none" if name == "launch" else options[-1]
    assert result.status != 0 and result.stderr.count("\n") == 1, result.stderr
    assert missed in result.stderr and "--help" not in result.stderr, result.stderr


def check_pip(words: list[str], folder: Path) -> None:
    """Check the options, and that the package has the extras."""
    options = [word for word in words if word.startswith("-")]
    assert words[1] == "install" and set(options) <= {"-q", "--no-build-isolation", "--no-deps"}
    extras = {extra for word in words for found in re.findall(r"\.\[(.*)\]", word) for extra in found.split(",")}
    assert extras <= set(metadata("rdrop_fairseq").get_all("Provides-Extra"))


def check_make(words: list[str], folder: Path) -> None:
    subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True, timeout=HANG)


def check_clone(words: list[str], folder: Path) -> None:
    assert words in (["git", "clone", "ADDRESS", "rdrop_fairseq"], ["cd", "rdrop_fairseq"])


PROGRAMS = {"git": check_clone, "cd": check_clone, "pip": check_pip, "make": check_make, "srun": run_script}
PROGRAMS |= dict.fromkeys(TINY, run_fairseq)


@pytest.mark.parametrize("block", [b for b in BLOCKS if not b.startswith((*NO_COMMANDS, PYTHON))], ids=title)
def test_a_block_of_commands(block: str, folder: Path) -> None:
    if block.startswith("fairseq-hydra-train"):
        command_line.make_data(folder / "TEXT").rename(folder / "DATA")
    for words in commands(block):
        run = run_script if words[0].startswith("scripts/") else PROGRAMS[words[0]]
        run(words, folder)


def test_the_loop_of_ones_own() -> None:
    (block,) = (block for block in BLOCKS if block.startswith(PYTHON))
    torch.manual_seed(1)
    x, pad, alpha = torch.randint(2, 9, (3, 5)), 1, 5.0
    y = x.clone()
    y[0, 3:] = y[2, 1:] = pad
    layers = torch.nn.Sequential(torch.nn.Embedding(9, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 9)).double()
    outputs = []

    def model(words: torch.Tensor) -> torch.Tensor:
        logits = layers(words)
        # What a model that masks its padding may give there.
        outputs.append(logits.masked_fill(torch.cat([y, y]).eq(pad).unsqueeze(-1), -torch.inf))
        return outputs[-1]

    names = {"torch": torch, "model": model, "x": x, "y": y, "pad": pad, "alpha": alpha}
    exec(compile(block, "README.md", "exec"), names)
    (logits,) = outputs
    expected = reference.rdrop(logits.unflatten(0, (2, 3)), y, alpha, padding_idx=pad).loss / y.ne(pad).sum()
    torch.testing.assert_close(names["loss"], expected)
    names["loss"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in layers.parameters())


def test_every_block_is_covered() -> None:
    """The blocks are found: as many as there are, and none is both text and commands."""
    indented = [line for line in README.splitlines() if line.startswith("    ")]
    assert sum(len([line for line in block.splitlines() if line]) for block in BLOCKS) == len(indented)
    for text in (*NO_COMMANDS, PYTHON):
        assert sum(block.startswith(text) for block in BLOCKS) == 1
    assert "```" not in README


INLINE = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", README)]


@pytest.mark.parametrize("code", [c for c in INLINE if re.match(r"(scripts/|benchmarks/)?\w+\.(sh|py)\b", c)])
def test_a_script_that_is_named_is_there_with_its_options(code: str) -> None:
    script, *words = code.split()
    (path,) = (path for part in ("", "scripts", "benchmarks") if (path := ROOT / part / script).is_file())
    text = path.read_text()
    for option in (word.strip("[]") for word in words if word.startswith("--") and word != "--"):
        assert re.search(rf"(?<!\S){option}\b", text), option
