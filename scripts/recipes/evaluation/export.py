"""Export the model of a run for use without fairseq: the command scripts/export.sh."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recipes import cli, layout
from recipes.data.preparation import Preparation
from recipes.data.prepared import CHARACTERS, GPT2
from recipes.evaluation import decoding, export_readme
from recipes.evaluation.checkpoint_choice import Checkpoint, ModelParser, chosen_checkpoint, failure_in_one_line
from recipes.evaluation.ctranslate2_engine import CTranslate2Engine, check_settings
from recipes.evaluation.ctranslate2_model import convert, quantizations
from recipes.evaluation.exported import Exported
from recipes.evaluation.fairseq_engine import FairseqEngine
from recipes.files import whole_folder
from recipes.versions import versions

DEFAULT = "float32"
LINES = 200  # of the validation set that are translated to check the export


def write_export(run: decoding.Run, checkpoint: Checkpoint, quantization: str, out: Path, lines: list[str]) -> Exported:
    """Write the model of a checkpoint, and all that translating needs, to an empty folder.

    Exit if CTranslate2 cannot hold the model, or if it translates fewer than half of the lines as fairseq does.

    Args:
        lines: subwords that both translate. Without any, nothing is checked.
    """
    if run.prepared.subwords in (GPT2, CHARACTERS):
        sys.exit(f"the subwords are {run.prepared.subwords}: a model with these is not exported")
    how = decoding.decoding_of(run)
    check_settings(how, f"{run.folder}")
    convert(checkpoint.path, run.bin, (run.source, run.target), out, quantization)
    prepared = out / "prepared"
    prepared.mkdir()
    layout.copy_of_preparation(run.bin, prepared)
    if run.plain:
        run.prepared.write(prepared)
    else:
        Preparation(prepared).encode(run.source)  # exits if the subwords are missing
    made_with = versions().splitlines()
    positions, joined = list(checkpoint.positions), run.post_process if run.plain else None
    facts = Exported(run.source, run.target, how, positions, joined, quantization, checkpoint.facts, None, made_with)
    if lines:
        facts = replace(facts, check=_check(run, checkpoint, CTranslate2Engine(out, facts, cpu=True), lines))
    facts.write(out)
    export_readme.write(out, facts)
    return facts


def _check(run: decoding.Run, checkpoint: Checkpoint, exported: CTranslate2Engine, lines: list[str]) -> dict[str, int]:
    """Return how many lines both translate alike. Exit if it is less than half of them."""
    how, engines = exported.facts.generation, (FairseqEngine(run, checkpoint, cpu=True), exported)
    texts = [[of_line[0].text for of_line in engine.translate(lines, how, 1)] for engine in engines]
    equal = sum(one == other for one, other in zip(*texts, strict=True))
    if 2 * equal < len(lines):
        alike = f"{equal} of {len(lines)} lines of the validation set as fairseq does"
        sys.exit(f"not exported: CTranslate2 translates only {alike} (--check 0 exports without this check)")
    return {"lines": len(lines), "equal": equal}


def source_lines(run: decoding.Run, subset: str, longest: int) -> list[str]:
    """Return the source lines of a binarized text such as "valid", as subwords; none if it is gone or changed.

    Empty lines, and lines that the model does not take, are left out.
    """
    data, dictionary = run.folder.data, Path(run.bin, f"dict.{run.source}.txt")
    of_data = Path(data, dictionary.name)
    if of_data.is_file() and of_data.read_bytes() != dictionary.read_bytes():  # the data was prepared again
        return []
    for pair in (f"{run.source}-{run.target}", f"{run.target}-{run.source}"):
        stem = f"{data}/{subset}.{pair}.{run.source}"
        if Path(f"{stem}.idx").is_file():
            with failure_in_one_line(f"reading {stem}"):
                from fairseq.data import Dictionary
                from fairseq.data.data_utils import load_indexed_dataset

                words = Dictionary.load(f"{dictionary}")
                return [words.string(line) for line in load_indexed_dataset(stem, words) if 1 < len(line) <= longest]
    return []


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the arguments. Exit if one is wrong, before anything takes time."""
    parser = ModelParser(rest=True)
    parser.add_argument("--to", choices=["ctranslate2"], default="ctranslate2")
    parser.add_argument("--quantization", default=DEFAULT)
    parser.add_argument("--check", type=cli.natural, default=LINES)
    args = parser.parse_args(arguments)
    if len(args.rest) != 1:
        parser.error(f"one OUT is needed, not {len(args.rest)}")
    args.folder = Path(args.rest[0]).resolve()
    cli.need(["ctranslate2"])
    if args.quantization not in quantizations():
        parser.error(f"--quantization must be one of {', '.join(quantizations())}, not '{args.quantization}'")
    if args.folder.exists():
        sys.exit(f"{args.folder} exists: choose another OUT, or remove it")
    return args


def main(arguments: Sequence[str]) -> None:
    """Run the command export.sh."""
    args = read_arguments(arguments)
    run = decoding.read_run(args.run, of_data=False)
    with chosen_checkpoint(args) as checkpoint, whole_folder(args.folder) as part:
        lines = source_lines(run, "valid", checkpoint.positions[0])[: args.check] if args.check else []
        facts = write_export(run, checkpoint, args.quantization, part, lines)
        if facts.check:
            equal, count = facts.check["equal"], facts.check["lines"]
            print(f"CTranslate2 translates {equal} of {count} lines of the validation set as fairseq does")
        elif args.check:
            print(f"Not checked: {run.folder.data} has no validation set in the words of the run")
        if computed := CTranslate2Engine(part, facts, cpu=True, threads=1).other_type:
            print(f"This CPU lacks {args.quantization}: CTranslate2 computes in {computed} here")
    megabytes = (args.folder / "model.bin").stat().st_size / 1e6
    print(f"{args.folder}: {megabytes:.1f} MB, {args.quantization}. Next: scripts/translate.sh {args.folder}")
