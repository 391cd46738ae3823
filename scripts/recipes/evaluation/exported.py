"""The folder of an exported model, which needs neither the run nor fairseq: what it holds, and its reader."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recipes.files import read_lines

FACTS = "export.json"


@dataclass(frozen=True)
class Exported:
    """What export.json says about an exported model."""

    source: str  # language
    target: str
    generation: dict[str, Any]  # how to decode: settings of fairseq's GenerationConfig by name
    positions: list[int]  # how many subwords the model takes, of the source and of the target, with the end of sentence
    joined: str | None  # if no prepare script made the data: as which kind of subwords fairseq joins the translations
    quantization: str  # how the weights are stored
    checkpoint: dict[str, Any]  # which checkpoint it was, its update and its SHA-256
    check: dict[str, int] | None  # lines that fairseq and the exported model decoded, and how many came out equal
    versions: list[str]  # with which it was made

    def write(self, folder: Path) -> None:
        """Write the file to the folder of the export."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / FACTS).write_text(f"{text}\n", encoding="utf-8")


def read_exported(folder: Path) -> Exported:
    """Return what the folder of an export says about its model. Exit if it does not."""
    file = folder / FACTS
    try:
        found = json.loads("\n".join(read_lines(file)))
        facts = Exported(**found)
        numbers = [int(number) for number in facts.positions]
        how = facts.generation
        if len(numbers) != 2 or how["beam"] < 1 or any(how[name] != how[name] + 0 for name in ("lenpen", *how)):
            raise ValueError
    except (ValueError, TypeError, LookupError, RecursionError):
        sys.exit(f"{file} is not what scripts/export.sh wrote: export the model again")
    return facts


def is_export(path: Path) -> bool:
    """Return whether a folder is one that scripts/export.sh made."""
    return (path / FACTS).is_file()
