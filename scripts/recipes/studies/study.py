"""Read a study, a file of configs/studies: it lists how the config of each of its entries differs from a given one."""

import re
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipes.cli import ROOT
from recipes.training.settings import read

FOLDER = ROOT / "configs" / "studies"
NAME = re.compile(r"\w[\w.-]*")
KEY = re.compile(r"\w+(?:\.\w+)+")
TYPES = {str: "a text", bool: "true or false", float: "a number"}
SCORES = ("validation", "test")
# The kinds of figures, and how many numbers each entry of such a figure has as its x. None: it has none.
FIGURES = {"curves": None, "bars": None, "seeds": None, "points": 1, "heat map": 2}


@dataclass(frozen=True)
class Entry:
    """One row of a study: by how its config differs from the given one.

    Attributes:
        config: the name of another config in the same folder to take in place of the given one, without ".yaml".
        set: values of settings.
        scale: factors of settings. [F, KEY] sets a setting to F times the value of another one.
        batch: the factor of the batch of an update.
        start: the entry from whose run with the same seed the run starts; "from" in the file.
        x: where the entry stands in the figure: a number, or two.
    """

    name: str
    config: str = ""
    set: dict[str, Any] = field(default_factory=dict)
    scale: dict[str, Any] = field(default_factory=dict)
    batch: float = 1
    start: str = ""
    x: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Figure:
    """What a study draws: curves, bars, points over the seeds or over x, or a heat map over two x."""

    kind: str = "bars"
    label: str = ""  # of x
    log: bool = False  # whether the axis of x is logarithmic


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        baseline: the entry that the others are compared with.
        score: whether the figure shows the score on the "validation" or the "test" set.
        equal_time: whether the table also compares what was reached within the time of the baseline.
        reach: the entry whose best validation score is the aim; the table then has the time in which it is reached.
    """

    name: str
    title: str
    baseline: str
    entries: dict[str, Entry]
    figure: Figure = Figure()
    score: str = "validation"
    equal_time: bool = False
    reach: str = ""


def find_study(name: str) -> Study:
    """Return the study of that name, or in the file of that path. Exit if there is none, or if it is not valid."""
    file = Path(name) if name.endswith(".yaml") else FOLDER / f"{name}.yaml"
    if not (file.is_file() and (name.endswith(".yaml") or NAME.fullmatch(name))):
        known = " ".join(sorted(path.stem for path in FOLDER.glob("*.yaml")))
        sys.exit(f"there is no study {name}; there are: {known}")
    return read_study(file)


def read_study(file: Path) -> Study:
    """Return the study in a file. Exit with a line that names the file and the value if it is not valid."""
    reader = Reader(file)
    values = reader.mapping("", OmegaConf.to_container(read(file), resolve=True), Study)
    missing = {"title", "baseline", "entries"} - values.keys()
    if missing:
        reader.refuse("", f"has no {', '.join(sorted(missing))}")
    figure = Figure(**reader.mapping("figure", values.pop("figure", {}), Figure))
    if figure.kind not in FIGURES:
        reader.refuse("figure.kind", f"must be one of {', '.join(FIGURES)}, not {figure.kind!r}")
    given = values.pop("entries")
    if not isinstance(given, dict) or not given:
        reader.refuse("entries", "must be entries by their names")
    entries = {name: reader.entry(name, of) for name, of in given.items()}
    study = Study(file.stem, entries=entries, figure=figure, **values)
    if study.score not in SCORES:
        reader.refuse("score", f"must be one of {', '.join(SCORES)}, not {study.score!r}")
    for key, name in (("baseline", study.baseline), ("reach", study.reach or study.baseline)):
        if name not in study.entries:
            reader.refuse(key, f"there is no entry {name!r}")
    for entry in study.entries.values():
        if entry.start and (entry.start not in study.entries or study.entries[entry.start].start):
            reader.refuse(f"entries.{entry.name}.from", "must be an entry that does not start from another one")
        if entry.x and len(entry.x) != FIGURES[figure.kind]:
            reader.refuse(f"entries.{entry.name}.x", f"a figure of kind '{figure.kind}' does not take {entry.x}")
    return study


class Reader:
    """Take the parts of a study out of its file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def refuse(self, key: str, wrong: str) -> None:
        """Exit with a line about a value of the file."""
        sys.exit(f"{self.file}: {key + ': ' if key else ''}{wrong}")

    def mapping(self, key: str, value: Any, kind: type) -> dict[str, Any]:
        """Return a part of the file as arguments of a dataclass. Exit unless each has the type of its field."""
        types: dict[str, Any] = {part.name: part.type for part in fields(kind)} | {"from": str}
        if not isinstance(value, dict):
            self.refuse(key, "must be a section")
        for name, part in value.items():
            if name not in types or name in ("name", "start"):
                self.refuse(f"{key}.{name}".strip("."), "is not known")
            right = types[name] not in TYPES or (
                is_number(part) if types[name] is float else isinstance(part, types[name])
            )
            if not right:
                self.refuse(f"{key}.{name}".strip("."), f"must be {TYPES[types[name]]}, not {part!r}")
        return dict(value)

    def entry(self, name: Any, value: Any) -> Entry:
        """Return the entry of a name."""
        key = f"entries.{name}"
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            self.refuse(key, "the name must consist of letters, digits, '_', '.' and '-'")
        values = self.mapping(key, value if value is not None else {}, Entry)
        for part in ("set", "scale"):
            of = values.get(part, {})
            if not isinstance(of, dict) or not all(isinstance(one, str) and KEY.fullmatch(one) for one in of):
                self.refuse(f"{key}.{part}", "must be values by keys such as criterion.rdrop_alpha")
        for one, factor in values.get("scale", {}).items():
            number, other = factor if isinstance(factor, list) and len(factor) == 2 else (factor, one)
            if not (is_number(number) and number > 0 and isinstance(other, str) and KEY.fullmatch(other)):
                self.refuse(f"{key}.scale.{one}", f"must be a factor > 0, or [FACTOR, KEY], not {factor!r}")
        if values.get("batch", 1) <= 0:
            self.refuse(f"{key}.batch", f"must be a factor > 0, not {values['batch']!r}")
        if (x := values.pop("x", None)) is not None:
            values["x"] = tuple(x) if isinstance(x, list) else (x,)
            if not all(map(is_number, values["x"])):
                self.refuse(f"{key}.x", f"must be a number, or a list of them, not {x!r}")
        if "from" in values:
            values["start"] = values.pop("from")
        return Entry(name, **values)


def is_number(value: object) -> bool:
    """Return whether a value of a file is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def scaled(factor: Any, key: str, cfg: DictConfig, entry: str, config: Path) -> Any:
    """Return the value of a setting that an entry scales. Integers stay integers, and lists are scaled one by one."""
    number, source = factor if isinstance(factor, list) else (factor, key)
    value = OmegaConf.select(cfg, source)
    values = list(value) if OmegaConf.is_list(value) else [value]
    if not values or not all(map(is_number, values)):
        sys.exit(f"{entry} takes {source} times {number:g}, and {config} sets it to {value}")
    found = [max(1, round(one * number)) if isinstance(one, int) else one * number for one in values]
    return found if OmegaConf.is_list(value) else found[0]
