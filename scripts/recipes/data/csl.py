"""CSL: abstracts of Chinese papers and their titles, as CLUE publishes them for the generation of titles.

They are lines of JSON with "abst" and "title", or lines "title TAB abstract", as github bojone/r-drop reads them.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from recipes.cli import ROOT
from recipes.data.options import Options, folder, tell_next
from recipes.data.pipeline import Step, prepare
from recipes.data.prepared import CHARACTERS, Prepared
from recipes.data.summarization import LANGS, NAMES, Summaries
from recipes.files import sha256
from recipes.text.parallel import BLANK, BOM, Sides
from recipes.text.parallel import text_of as decoded
from recipes.text.pieces import one_space

ENDINGS = (".json", ".jsonl", ".tsv")
ABSTRACT, TITLE = ("abst", "content"), ("title",)  # the names that the fields have
HINT = "the files of CLUE for the generation of titles are csl_title_*.json, not those for its keywords"


def find_files(source: Path) -> dict[str, Path]:
    """Return the file of each split, *NAME.json, *NAME.jsonl or *NAME.tsv. Exit unless there is exactly one."""
    found = {}
    for split, names in NAMES.items():
        files = sorted(file for file in source.iterdir() if file.suffix in ENDINGS and file.stem.endswith(names))
        if len(files) != 1:
            several = " and ".join(file.name for file in files) or "no file"
            expected = ", ".join(f"*{names[-1]}{ending}" for ending in ENDINGS)
            sys.exit(f"{source} has {several} for {split}: it must have one of {expected}")
        found[split] = files[0]
    return found


def rows(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the abstract and the title of each line. Exit with the number of a line that lacks one."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{file.name}: line {number}"
            text = decoded(line, number, file).removeprefix(BOM).strip("\r\n")
            if file.suffix == ".tsv":
                fields = text.split("\t")
                if len(fields) != 2:
                    sys.exit(f"{where} must be a title, a tab and an abstract; it has {len(fields)} fields")
                row = dict(zip(("title", "content"), fields, strict=True))
            else:
                try:
                    row = json.loads(text)
                except ValueError as error:
                    sys.exit(f"{where} is not JSON: {error}")
            yield field(row, ABSTRACT, where), field(row, TITLE, where)


def field(row: object, names: Sequence[str], where: str) -> str:
    """Return a field of a row, on one line. Exit if it has none, or an empty one."""
    value = next((row[name] for name in names if name in row), None) if isinstance(row, dict) else None
    if not isinstance(value, str):
        sys.exit(f"{where} has no {' or '.join(names)}: {HINT}")
    if BLANK.fullmatch(value):
        sys.exit(f"{where}: the {names[0]} is empty")
    return one_space(value.replace("\0", " "))


def main(arguments: Sequence[str]) -> None:
    """Run the command prepare_csl.sh."""
    args = Options("--train-lines", source=folder).parse_args(arguments)
    if not args.source:
        sys.exit("--from is missing (see --help)")
    args.out = args.out or ROOT / "data" / "csl"
    files = find_files(args.source)

    def make_raw(part: Path) -> None:
        for split, file in files.items():
            limit = args.train_lines if split == "train" else None
            with Sides(part / "raw", split, LANGS) as target:
                for pair in rows(file):
                    if target.count == limit:
                        break
                    target.write(pair)
            if not target.count or (limit and target.count < limit):
                fewer = f", fewer than the {limit} asked for" if limit else ""
                sys.exit(f"{file.name} has {target.count} lines{fewer}")
            print(f"{split}: {target.count:,} abstracts and titles")

    chosen = {"train-lines": args.train_lines or "all", "subwords": CHARACTERS}
    settings = Prepared("prepare_csl.sh", chosen, testsets=["test"], lowercase=True)
    steps = Summaries(args.out, LANGS, 0, args.workers)

    def digests() -> dict[str, str]:
        return {file.name: sha256(file) for file in files.values()}

    prepare(args.out, settings, [Step("raw", make_raw), *steps.steps], digests, source_is_given=True)
    tell_next(args.out, "csl", "configs/csl/rdrop.yaml")
