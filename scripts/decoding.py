"""Decode with a translation run of scripts/train.sh: what its config and its data say, and fairseq-generate on it."""

import argparse
import logging
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

from arguments import Parser, positive
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from score import read_lines

ROOT = Path(__file__).resolve().parent.parent
KINDS = {str: "a text", bool: "true or false", int: "an integer", dict: "a section"}
logging.disable(logging.INFO)  # fairseq's: optional packages, a page of settings


@dataclass(frozen=True)
class Run:
    """A run folder, and what is known of its data."""

    folder: Path
    seed: int
    bin: str  # the binarized data, as the config names it
    source: str
    target: str
    generation: dict[str, Any]  # how the config decodes, by the names of fairseq's GenerationConfig
    post_process: str | None  # how subwords are joined: subword_nmt, sentencepiece, ...
    cpu: bool
    lowercase: bool  # whether the tokens are lower-cased
    escaped: bool  # whether the tokens hold Moses' escapes (&apos; for ')

    @property
    def data(self) -> Path:
        """The folder of the prepared data, which holds raw/, tok/ and bin/."""
        return (ROOT / self.bin).parent

    @property
    def testsets(self) -> list[str]:
        """The names of the test sets, in the order of bin's test, test1, ...; exits where there is none."""
        names = list(filter(None, read_lines(self.data / "testsets")))
        if not names:
            sys.exit(f"{self.data} was prepared without a test set: there is nothing to evaluate on")
        return names

    def references(self, kind: str, name: str) -> list[list[str]]:
        """Return the references of a text, `kind` raw or tok: NAME.LANG, NAME.LANG0, NAME.LANG1, as multi-bleu.perl."""
        stem = f"{self.data}/{kind}/{name}.{self.target}"
        found = [path for number in ("", *range(10)) if (path := Path(f"{stem}{number}")).exists()]
        if not found:
            sys.exit(f"there is no reference {stem}")
        return [read_lines(path) for path in found]


def check_lengths(name: str, hypotheses: Sequence[object], references: list[list[str]]) -> None:
    """Exit unless each reference of a text has a line for each hypothesis."""
    for lines in references:
        if len(lines) != len(hypotheses):
            sys.exit(f"{name}: {len(hypotheses)} hypotheses, a reference of {len(lines)} lines; was the data changed?")


class Hypothesis(NamedTuple):
    """A finished hypothesis of beam search."""

    text: str  # tokens, subwords joined
    score: float  # log-probability in bits, divided by length**lenpen
    length: int  # in subwords, with the end of sentence


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line."""
    return " ".join(str(error).split()) or repr(error)


def read_config(folder: Path) -> DictConfig:
    """Return the config of a run that scripts/train.sh made; exit if it is none."""
    path = folder / "train.yaml"
    if not path.is_file():
        sys.exit(f"{folder} is no run folder of scripts/train.sh: it has no train.yaml")
    try:
        config = OmegaConf.load(path)
    except Exception as error:  # of YAML, of the encoding, of omegaconf, of Python's dates and recursion
        sys.exit(f"{path} cannot be read: {one_line(error)}")
    if not isinstance(config, DictConfig):
        sys.exit(f"{path} is no config: it holds a list")
    return config


def setting(folder: Path, config: DictConfig, key: str, kind: type, default: Any = None) -> Any:
    """Return a setting of a run's config, a section as a dictionary; exit if it is not of the kind."""
    try:
        value = OmegaConf.select(config, key, default=default)
        if isinstance(value, DictConfig | ListConfig):
            value = OmegaConf.to_container(value, resolve=True)
    except OmegaConfBaseException as error:
        sys.exit(f"{folder}/train.yaml, {key}: {str(error).splitlines()[0]}")
    if value is not None and not isinstance(value, kind):
        sys.exit(f"{folder}/train.yaml, {key}: must be {KINDS[kind]}, not {value}")
    return value


def read_run(folder: Path) -> Run:
    """Return a translation run that scripts/train.sh made; exit if it is none, or if its data is not there."""
    cfg = read_config(folder)
    found = {key: OmegaConf.select(cfg, f"task.{key}") for key in ("data", "source_lang", "target_lang")}
    if missing := [key for key, value in found.items() if value is None]:
        sys.exit(f"{folder}/train.yaml says nothing of task.{missing[0]}: is this a run of a translation task?")
    data = (ROOT / found["data"]).parent
    if not (data / "testsets").is_file():
        sys.exit(f"{data} holds no prepared data (no file testsets)")
    settings = read_lines(data / "settings") if (data / "settings").exists() else []
    return Run(
        folder=folder.resolve(),
        seed=OmegaConf.select(cfg, "common.seed", default=1),
        bin=found["data"],
        source=found["source_lang"],
        target=found["target_lang"],
        generation=dict(OmegaConf.select(cfg, "generation", default={})),
        post_process=OmegaConf.select(cfg, "common_eval.post_process", default="subword_nmt"),
        cpu=bool(OmegaConf.select(cfg, "common.cpu")),
        lowercase="lowercase: yes" in settings,
        escaped="escaped: yes" in settings,
    )


def parser(description: str | None) -> Parser:
    """Return a parser of the arguments that say which run, and which of its checkpoints, decodes."""
    made = Parser(description)
    made.add_argument("run", type=Path, metavar="RUN")
    which = made.add_mutually_exclusive_group()
    which.add_argument("--average", type=positive, metavar="N")
    which.add_argument("--average-best", type=positive, metavar="N")
    return made


def decoding_of(run: Run, **changes: float | None) -> dict[str, Any]:
    """Return how to decode, by the names of fairseq's GenerationConfig: fairseq's values, the config's, the changes."""
    from fairseq.dataclass.configs import GenerationConfig

    try:
        known = OmegaConf.merge(OmegaConf.structured(GenerationConfig), run.generation)
    except OmegaConfBaseException as error:
        sys.exit(f"{run.folder}/train.yaml, generation: {str(error).splitlines()[0]}")
    named = {key: OmegaConf.select(known, key) for key in ("beam", "lenpen", *run.generation)}
    return named | {key: value for key, value in changes.items() if value is not None}


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the place of `folder` at the end, and goes if that is not reached."""
    part = folder.with_name(f".{folder.name}.part")
    rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        rmtree(part, ignore_errors=True)


def checkpoint_name(args: argparse.Namespace) -> str:
    """Return the name of the checkpoint that the arguments of `parser` ask for."""
    if args.average:
        return f"average{args.average}"
    return f"average_best{args.average_best}" if args.average_best else "best"


@contextmanager
def chosen_checkpoint(args: argparse.Namespace) -> Iterator[Path]:
    """Give the checkpoint that the arguments of `parser` ask for; an average is there meanwhile."""
    folder = args.run.resolve()
    checkpoints = folder / "checkpoints"
    if not (args.average or args.average_best):
        best = checkpoints / "checkpoint_best.pt"
        if not best.exists():
            sys.exit(f"there is no {best}; has the run reached its first validation?")
        if not zipfile.is_zipfile(best):
            sys.exit(f"{best} is cut short; --average N decodes without it")
        yield best
        return
    import average_checkpoints as averaging

    made = folder / f".{checkpoint_name(args)}.pt"
    choose = averaging.best_checkpoints if args.average_best else averaging.last_checkpoints
    try:
        averaging.save(averaging.average(choose(checkpoints, args.average or args.average_best)), made)
        yield made
    finally:
        made.unlink(missing_ok=True)


def generate(run: Run, checkpoint: Path, subset: str, how: dict[str, Any], folder: Path) -> list[list[Hypothesis]]:
    """Decode a subset of the run's binarized data with fairseq-generate.

    Args:
        how: what `decoding_of` gives; nbest too.
        folder: where fairseq writes what is read here and removed.

    Returns:
        For each sentence, in the order of the corpus, its nbest hypotheses, the best first.
    """
    argv = ["fairseq-generate", run.bin, "--source-lang", run.source, "--target-lang", run.target]
    argv += ["--gen-subset", subset, "--path", str(checkpoint), "--results-path", str(folder)]
    argv += ["--post-process", run.post_process] if run.post_process else []
    # With another batch size multiple than 1 fairseq leaves out the sentences of the last, incomplete batch.
    argv += ["--max-tokens", "4096", "--required-batch-size-multiple", "1", "--num-workers", "0"]
    argv += ["--cpu"] * run.cpu + ["--no-progress-bar"] * (not sys.stderr.isatty())
    for key, value in how.items():
        flag = "--" + key.replace("_", "-")
        if value is True:
            argv.append(flag)
        elif value is not None and value is not False:
            argv += [flag, str(value)]
    os.chdir(ROOT)  # relative paths in a config start there
    warnings.simplefilter("ignore")  # fairseq's own, of deprecated calls
    from fairseq_cli.generate import cli_main

    import rdrop_fairseq  # noqa: F401  (registers the tasks, lets the checkpoints load)

    sys.argv = argv
    try:
        cli_main()
    except Exception as error:
        sys.exit(f"decoding {subset} with {checkpoint} failed: {' '.join(str(error).split()) or repr(error)}")
    generated = folder / f"generate-{subset}.txt"
    found = read_generated(generated)
    generated.unlink()
    return found


def read_generated(path: Path) -> list[list[Hypothesis]]:
    """Return what fairseq-generate wrote: the hypotheses of each sentence, in the order of the corpus, best first."""
    found: dict[int, list[Hypothesis]] = {}
    for line in read_lines(path):
        if match := re.fullmatch(r"H-(\d+)\t([^\t]*)\t(.*)", line, re.DOTALL):
            found.setdefault(int(match[1]), []).append(Hypothesis(match[3], float(match[2]), 0))
        elif match := re.fullmatch(r"P-(\d+)\t(.*)", line):  # the log-probability of each subword of the one before
            of_sentence = found[int(match[1])]
            of_sentence[-1] = of_sentence[-1]._replace(length=len(match[2].split()))
    return [found[number] for number in sorted(found)]


def rerank(hypotheses: list[Hypothesis], lenpen: float) -> Hypothesis:
    """Return the best of a sentence's hypotheses, decoded with length penalty 0, for another length penalty.

    This equals decoding anew. Until fairseq's beam search (`SequenceGenerator`) ends, it compares sums of
    log-probabilities alone: the penalty divides the score of a hypothesis when that is finished, the search ends when
    `beam` hypotheses are finished, and the penalty orders them at the end.
    """
    return max(hypotheses, key=lambda hypothesis: hypothesis.score / hypothesis.length**lenpen)
