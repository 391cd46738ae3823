"""Take runs of a study from the study.json of another machine, of an earlier time, or of another study."""

import json
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.files import read_lines
from recipes.studies.conditions import Conditions
from recipes.studies.outcome import Result
from recipes.studies.plan import config_of, overrides_of
from recipes.studies.study import Study, is_number

Run = tuple[str, int]  # entry and seed


def read_recorded(files: Iterable[Path], study: Study, given: Path, overrides: Sequence[str]) -> dict[Run, Result]:
    """Return the runs of the study's entries that files like study.json hold.

    Of a run that several of them hold, that of the first counts. Exit where `read_file` does.
    """
    found = [result for file in files for result in read_file(file, study, given, overrides)]
    return {(result.entry, result.seed): result for result in reversed(found)}


def read_file(file: Path, study: Study, given: Path, overrides: Sequence[str]) -> list[Result]:
    """Return the runs of a study.json whose entries the study has too; it may be that of another study.

    Exit if the file is not one, if it is about another config than `given`, if it has no such run, or if one of them
    has other settings than the study, with the overrides of the user, gives that entry now.
    """
    if not file.is_file():
        sys.exit(f"there is no {file}")
    try:
        whole = json.loads("\n".join(read_lines(file)))
        config, found = Path(whole["config"]), [result_of(run) for run in whole["runs"]]
    except (ValueError, LookupError, TypeError, RecursionError, StopIteration):
        sys.exit(f"{file} is no study.json that study.sh wrote")
    if config.parts[-2:] != given.resolve().parts[-2:][-len(config.parts) :]:
        sys.exit(f"{file} is about {config}, and not about {given}")
    known = [result for result in found if result.entry in study.entries]
    if not known:
        entries = " ".join(dict.fromkeys(result.entry for result in found))
        its = f"its entries are {entries}" if entries else "it has no runs"
        sys.exit(f"{file} has no run of an entry of the study {study.name}; {its}")
    wanted = {name: overrides_of(entry, config_of(entry, given), overrides) for name, entry in study.entries.items()}
    for result in known:
        differing = sorted({*result.overrides} ^ {*wanted[result.entry]})
        if differing:
            told = " ".join(differing)
            sys.exit(f"{file}: {result.entry} seed {result.seed} does not have the settings of this study: {told}")
    return known


def result_of(run: dict[str, Any]) -> Result:
    """Return a run as study.json has it. Raise an error of some kind if something is missing or is of another kind."""
    keys = ("entry", "seed", "overrides", "scores", "curve", "best", "versions", "tests")
    conditions = [part and Conditions(**part) for part in run.get("conditions", [None])]
    result = Result(**{key: run[key] for key in keys}, conditions=conditions)
    numbers = [*result.scores.values(), *(point[key] for point in result.curve for key in ("update", "seconds"))]
    numbers += [point[result.measure] for point in [*result.curve, result.best]]
    if not (isinstance(result.entry, str) and result.curve and all(map(is_number, [result.seed, *numbers]))):
        raise ValueError(f"no run: {run}")
    return result


def still_to_train(study: Study, seeds: Mapping[str, Sequence[int]], recorded: Container[Run]) -> dict[str, list[int]]:
    """Return the seeds of each entry without the runs that are recorded, except those from which others start."""
    left = {name: [seed for seed in of if (name, seed) not in recorded] for name, of in seeds.items()}
    for entry in study.entries.values():
        if entry.start:
            needed = {*left[entry.start], *left[entry.name]}
            left[entry.start] = [seed for seed in seeds[entry.start] if seed in needed]
    return left
