"""README, docs and results: links lead to files, what is named exists, and scores are those that were measured."""

import re
from pathlib import Path

import pytest
from fairseq import options
from support.documents import (
    CONFIGS,
    DOCUMENTS,
    SETTINGS,
    blocks_of,
    check_header,
    check_settings,
    inline_code_of,
    name_of,
)
from support.places import ROOT

import rdrop_fairseq

FILES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("rdrop_fairseq", "scripts", "benchmarks", "examples", "tests", "configs", "results", "docs")
    for path in (ROOT / folder).rglob("*.*")
]
OF_OTHERS = {"compound_split_bleu.sh", "prepare-iwslt14.sh", "prepare-wmt14en2de.sh"}  # shell scripts of fairseq
A_FILE = re.compile(r"[\w./-]+\.(sh|py|md)$")
A_SETTING = re.compile(
    r"(common|checkpoint|dataset|optimization|distributed_training|ema|task|model|criterion)\.\w+(=|$)"
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_what_is_named_in_a_text_exists(document: Path) -> None:
    """Check links, files, scripts with their options, flags of fairseq and the plugin, and keys of configs."""
    text = document.read_text(encoding="utf-8")
    assert "```" not in text
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert "://" in link or (document.parent / link).exists(), link
    flags = {f"--{key.partition('.')[2].replace('_', '-')}" for key in SETTINGS}
    flags |= set(options.get_training_parser()._option_string_actions)
    scripts = "".join((ROOT / name).read_text(encoding="utf-8") for name in FILES if name.endswith((".sh", ".py")))
    for code in inline_code_of(document):
        name, *words = code.split() or [""]
        if A_FILE.match(name) and not re.search("NAME|_X|news", name) and name not in OF_OTHERS:
            found = [file for file in FILES if f"/{file}".endswith(f"/{name}")] or [name]
            assert (ROOT / found[0]).is_file(), code
            check_header(ROOT / found[0], words)
        elif re.match(r"--[a-z]", name):
            assert name in flags or re.search(rf"(?<!\w){name}\b", scripts), code
        elif A_SETTING.match(name):
            check_settings([name])


def test_scores_are_those_in_results() -> None:
    """Check that each mean ± standard deviation in README, docs and configs is in a file of results/."""
    measured = " ".join(file.read_text() for file in ROOT.glob("results/**/*.md"))
    for document in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *CONFIGS]:
        for mean, std in re.findall(r"([\d.]+) (?:±|\+-) ([\d.]+\d)", document.read_text(encoding="utf-8")):
            assert f"{mean} ± {std}" in measured, f"{document}: {mean} ± {std}"


def test_every_block_is_run() -> None:
    """Check that no indented line of a document is outside the blocks, and that README is short."""
    for document in DOCUMENTS:
        indented = re.findall(r"^ {4}.*\S", document.read_text(encoding="utf-8"), re.MULTILINE)
        assert sum(len(re.findall(".+", block)) for block in blocks_of(document)) == len(indented), document
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130
    assert rdrop_fairseq.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
