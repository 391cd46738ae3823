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


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_what_is_named_in_a_text_exists(document: Path) -> None:
    """Check links, scripts with their options, flags of fairseq and the plugin, and keys of configs."""
    text = document.read_text(encoding="utf-8")
    assert "```" not in text
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert "://" in link or (document.parent / link).exists(), link
    parser = options.get_training_parser()
    for code in inline_code_of(document):
        if re.match(r"(scripts/|benchmarks/)?\w+\.(sh|py)\b", code):
            name, *words = code.split()
            (script,) = (path for part in ("", "scripts", "benchmarks") if (path := ROOT / part / name).is_file())
            check_header(script, words)
        elif flag := re.match(r"--rdrop-[\w-]+", code):
            assert f"criterion.{flag[0][2:].replace('-', '_')}" in SETTINGS, code
        elif flag := re.match(r"--[\w-]+(?= |$)", code):
            known = flag[0] in parser._option_string_actions
            assert known or any(flag[0] in path.read_text() for path in ROOT.glob("scripts/*.*")), code
        elif re.match(r"(common|checkpoint|dataset|optimization|ema|task|model|criterion)\.\w+(?!\w*[(.])", code):
            check_settings([code])


def test_scores_are_those_in_results() -> None:
    """Check that each mean ± standard deviation in README, docs and configs is in a file of results/."""
    measured = " ".join(file.read_text() for file in ROOT.glob("results/*/*.md"))
    for document in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *CONFIGS]:
        for mean, std in re.findall(r"([\d.]+) (?:±|\+-) ([\d.]+\d)", document.read_text(encoding="utf-8")):
            assert f"{mean} ± {std}" in measured, f"{document}: {mean} ± {std}"


def test_every_block_is_run() -> None:
    """Check that no indented line of a document is outside the blocks, and that README is short."""
    for document in DOCUMENTS:
        indented = [line for line in document.read_text(encoding="utf-8").splitlines() if re.match(" {4}[^ ]", line)]
        found = [line for block in blocks_of(document) for line in block.splitlines() if re.match("[^ ]", line)]
        assert len(found) == len(indented), document
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130
    assert rdrop_fairseq.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
