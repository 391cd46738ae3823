"""How a data set was prepared: what a prepare script writes to settings.json in its output folder, and its reader."""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from recipes.files import read_lines, write_whole
from recipes.layout import FORMER_SETTINGS, FORMER_TESTSETS, SETTINGS

SENTENCEPIECE, GPT2, CHARACTERS = PIECES = ("sentencepiece", "GPT-2", "characters")


@dataclass
class Prepared:
    """How a data set was prepared."""

    script: str  # the name of the prepare script; empty in data of a time when the settings did not name it
    options: dict[str, str | int | bool]  # those that the data depends on, as in {"pair": "de-en", "bpe": 10000}
    testsets: list[str] = field(default_factory=list)  # in the order of fairseq's test, test1, ...
    lowercase: bool = False  # whether the tokens are lower-cased
    escaped: bool = False  # whether the tokens hold Moses' escapes, as &apos; for an apostrophe
    sources: dict[str, str] = field(default_factory=dict)  # the SHA-256 of each source, by its name

    @property
    def tokenized(self) -> bool:
        """Whether the text was tokens already."""
        return self.options.get("tokenized") is True

    @property
    def subwords(self) -> str:
        """The kind of the subwords: subword-nmt (of tokens), or one of PIECES."""
        return str(self.options.get("subwords", "subword-nmt"))

    @property
    def pieces(self) -> bool:
        """Whether the subwords are pieces of the text itself, and not of its tokens."""
        return self.subwords in PIECES

    @property
    def settings(self) -> dict[str, str]:
        """All that was chosen, by name, each value as a text. The sources and the test sets follow from the source."""
        chosen = {"script": self.script, **self.options, "lowercase": self.lowercase, "escaped": self.escaped}
        words = {True: "yes", False: "no"}
        return {name: words[value] if isinstance(value, bool) else str(value) for name, value in chosen.items()}

    def write(self, folder: Path) -> None:
        """Write the settings to the folder of the data, in place of those that are there."""
        write_whole(folder / SETTINGS, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")
        for name in (FORMER_SETTINGS, FORMER_TESTSETS):
            (folder / name).unlink(missing_ok=True)


def is_prepared(folder: Path) -> bool:
    """Return whether a prepare script has said in a folder how its data was prepared."""
    return any((folder / name).is_file() for name in (SETTINGS, FORMER_SETTINGS, FORMER_TESTSETS))


def read_prepared(folder: Path) -> Prepared:
    """Return how the data in a folder was prepared. Exit if no prepare script has written it there."""
    path = folder / SETTINGS
    if path.is_file():
        return _parse(path)
    if is_prepared(folder):
        return _read_former(folder)
    sys.exit(f"{folder} holds no prepared data (no file {SETTINGS})")


def _parse(path: Path) -> Prepared:
    """Return what a settings.json says. Exit if it is no JSON of that form."""
    try:
        found = json.loads("\n".join(read_lines(path)))
    except ValueError as error:
        sys.exit(f"{path} is not JSON: {error}")
    kinds = {"script": str, "options": dict, "sources": dict, "testsets": list, "lowercase": bool, "escaped": bool}
    if not isinstance(found, dict) or found.keys() != kinds.keys():
        sys.exit(f"{path} must be an object with {', '.join(sorted(kinds))}")
    for name, kind in kinds.items():
        if not isinstance(found[name], kind):
            sys.exit(f"{path}: {name} must be a {kind.__name__}, not {found[name]!r}")
    if not all(isinstance(name, str) for name in found["testsets"]):
        sys.exit(f"{path}: testsets must be a list of names, not {found['testsets']!r}")
    return Prepared(**found)


def _read_former(folder: Path) -> Prepared:
    """Return what the two text files say that earlier versions wrote in place of settings.json."""
    made = Prepared("", {}, _lines(folder / FORMER_TESTSETS))
    for line in _lines(folder / FORMER_SETTINGS):
        name, _, value = line.partition(": ")
        if name == "script":
            made.script = value
        elif name in ("lowercase", "escaped"):
            setattr(made, name, value == "yes")
        elif name == "texts" or "." in name:
            made.sources[name] = value
        else:
            made.options[name] = value
    return made


def _lines(path: Path) -> list[str]:
    """Return the lines of a file that are not empty, none if there is no file."""
    return [line for line in read_lines(path) if line] if path.is_file() else []
