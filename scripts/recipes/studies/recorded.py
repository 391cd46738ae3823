"""Take runs of a study from the study.json of another machine, or of an earlier time: they are not trained here."""

import json
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

from recipes.files import read_lines
from recipes.studies.conditions import Conditions
from recipes.studies.outcome import Result
from recipes.studies.plan import config_of, overrides_of
from recipes.studies.study import Study

Run = tuple[str, int]  # entry and seed


def read_recorded(files: Iterable[Path], study: Study, given: Path, overrides: Sequence[str]) -> dict[Run, Result]:
    """Return the runs that files like study.json hold. Of a run that several of them hold, that of the first counts.

    Exit where `read_file` does.
    """
    found = [result for file in files for result in read_file(file, study, given, overrides)]
    return {(result.entry, result.seed): result for result in reversed(found)}


def read_file(file: Path, study: Study, given: Path, overrides: Sequence[str]) -> list[Result]:
    """Return the runs that a study.json holds.

    Exit if it is none, or if one of its runs is not trained as the study trains that entry now: with `given`, the
    config that the study is about, and the overrides of the user.
    """
    if not file.is_file():
        sys.exit(f"there is no {file}")
    try:
        found = [
            Result(
                **{key: run[key] for key in ("entry", "seed", "overrides", "scores", "curve", "best")},
                **{key: run[key] for key in ("versions", "tests")},
                conditions=[part and Conditions(**part) for part in run["conditions"]],
                log=None,
            )
            for run in json.loads("\n".join(read_lines(file)))["runs"]
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        sys.exit(f"{file} is no study.json that study.sh wrote")
    for result in found:
        if result.entry not in study.entries:
            sys.exit(f"{file} has a run of {result.entry}, and the study has no such entry")
        entry = study.entries[result.entry]
        wanted = overrides_of(entry, config_of(entry, given), overrides)
        if result.overrides != wanted:
            told = (" ".join(of) or "the config alone" for of in (result.overrides, wanted))
            sys.exit(f"{file}: {result.entry} seed {result.seed} was trained with {' and not with '.join(told)}")
    return found


def still_to_train(study: Study, seeds: Mapping[str, Sequence[int]], recorded: Container[Run]) -> dict[str, list[int]]:
    """Return the seeds of each entry without the runs that are recorded, except those from which others start."""
    left = {name: [seed for seed in of if (name, seed) not in recorded] for name, of in seeds.items()}
    for entry in study.entries.values():
        if entry.start:
            needed = {*left[entry.start], *left[entry.name]}
            left[entry.start] = [seed for seed in seeds[entry.start] if seed in needed]
    return left
