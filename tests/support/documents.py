"""The documents: README, docs, CONTRIBUTING, results and the headers of configs, and what stands in them."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import fairseq.tasks  # noqa: F401  (registers what the settings below are of)
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.dataclass.configs import FairseqConfig
from fairseq.models import MODEL_DATACLASS_REGISTRY
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from support.places import ROOT

import rdrop_fairseq  # noqa: F401

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("results/*/README.md")])
CONFIGS = sorted(ROOT.glob("configs/*/*.yaml"))
NO_COMMANDS = ("loss = L(p1)", "loss = 1/B", "loss = w1 L(p1)", "@inproceedings")


def name_of(document: object) -> str | None:
    """Return the name of a document in the repository, for the name of a test."""
    return str(document.relative_to(ROOT)) if isinstance(document, Path) else None


def blocks_of(document: Path) -> list[str]:
    """Return the indented blocks of a document, without the indentation."""
    text = document.read_text(encoding="utf-8")
    found = re.findall(r"(?:(?<=\n\n)|^)    (?:.+\n|\n+(?=    ))+", text)
    return [textwrap.dedent(block).strip() for block in found]


def is_python(block: str) -> bool:
    """Return whether a block is Python."""
    return block.startswith(("from ", "import ", '"""'))


def commands_of(document: Path) -> list[str]:
    """Return the blocks of commands in a document, or in the header of a config."""
    if document.suffix == ".yaml":
        block = "\n".join(re.findall(r"^#   (.+)", document.read_text(encoding="utf-8"), re.MULTILINE))
        return [block] if block else []
    return [block for block in blocks_of(document) if not (block.startswith(NO_COMMANDS) or is_python(block))]


def inline_code_of(document: Path) -> Iterator[str]:
    """Yield what stands between backquotes in a document."""
    text = document.read_text(encoding="utf-8")
    yield from (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text))


def settings_of_fairseq() -> set[str]:
    """Return the keys of fairseq's config, and those of all its tasks, models and criterions and of the plugin's."""
    keys = set()
    for section in fields(FairseqConfig):
        if not isinstance(section.default, (str, type(None))) and hasattr(section.default, "__dataclass_fields__"):
            keys |= {f"{section.name}.{field.name}" for field in fields(section.default)}
    kinds = {"task": TASK_DATACLASS_REGISTRY, "model": MODEL_DATACLASS_REGISTRY}
    for kind, registry in {**kinds, "criterion": CRITERION_DATACLASS_REGISTRY}.items():
        keys |= {f"{kind}.{field.name}" for dataclass in registry.values() for field in fields(dataclass)}
    return keys


SETTINGS = settings_of_fairseq()


def check_settings(overrides: list[str]) -> None:
    """Check that each key=value names a setting of fairseq or the plugin."""
    for override in overrides:
        assert override.partition("=")[0] in SETTINGS, override


def check_header(script: Path, words: list[str]) -> None:
    """Check that the header of a script, which is its help, names the options."""
    text = script.read_text(encoding="utf-8")
    for option in (word.strip("[]").partition("=")[0] for word in words if re.match(r"\[?--\w", word)):
        assert re.search(rf"(?<!\S)\[?{option}\b", text), f"{script.name} {option}"
