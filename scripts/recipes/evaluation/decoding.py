"""Decode with a translation run of scripts/train.sh: what its config and its data say, and fairseq-generate on it."""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.cli import MOST, ROOT, STEEPEST
from recipes.evaluation.checkpoint_choice import (
    Checkpoint,
    check_dictionaries,
    check_path,
    failure_in_one_line,
    read_config,
    setting,
)
from recipes.files import read_lines

LANGUAGE = re.compile(r"[A-Za-z]\w*(?:-\w+)*")
SUBWORDS = ("subword_nmt", "sentencepiece", "wordpiece", "letter", "silence", "_EOW", "@@ ", "@@", "none")
# The settings of fairseq's GenerationConfig that a config may use: those of beam search and sampling, with the least
# and the greatest value. The others read files, or are none of a score that compares.
SETTINGS: dict[str, tuple[float, float]] = {
    "beam": (1, MOST),
    "lenpen": (-STEEPEST, STEEPEST),
    "max_len_a": (0, MOST),
    "max_len_b": (0, MOST),
    "min_len": (0, MOST),
    "match_source_len": (False, True),
    "unnormalized": (False, True),
    "unkpen": (-MOST, MOST),
    "temperature": (1e-9, MOST),
    "no_repeat_ngram_size": (0, MOST),
    "sampling": (False, True),
    "sampling_topk": (-1, MOST),
    "sampling_topp": (-1, 1),
    "diverse_beam_groups": (-1, MOST),
    "diverse_beam_strength": (-MOST, MOST),
    "diversity_rate": (-MOST, MOST),
}
MAX_TOKENS = 4096  # of a batch, and more only for a line that is longer


@dataclass(frozen=True)
class Run:
    """A run folder, and what is known of its data."""

    folder: Path
    bin: Path  # the binarized data
    source: str
    target: str
    generation: dict[str, Any]  # how the config decodes, by the names of fairseq's GenerationConfig
    post_process: str | None  # how subwords are joined: subword_nmt, sentencepiece, ...
    cpu: bool

    @property
    def data(self) -> Path:
        """The folder of the prepared data, which holds raw/, tok/ and bin/."""
        return self.bin.parent

    @cached_property
    def settings(self) -> list[str]:
        """What the preparation of the data says of itself."""
        path = self.data / "settings"
        return read_lines(path) if path.exists() else []

    @property
    def lowercase(self) -> bool:
        """Whether the tokens are lower-cased."""
        return "lowercase: yes" in self.settings

    @property
    def escaped(self) -> bool:
        """Whether the tokens hold Moses' escapes (&apos; for ')."""
        return "escaped: yes" in self.settings

    def references(self, kind: str, name: str) -> list[list[str]]:
        """Return the references of a text, `kind` raw or tok: NAME.LANG, NAME.LANG0, NAME.LANG1, as multi-bleu.perl.

        NAME.LANG0 is none where LANG0 is the source language.
        """
        stem = f"{self.data}/{kind}/{name}."
        names = [f"{self.target}{number}" for number in ("", *range(10))]
        found = [path for lang in names if lang != self.source and (path := Path(stem + lang)).exists()]
        if not found:
            sys.exit(f"there is no reference {stem}{self.target}")
        return [read_lines(path) for path in found]

    @property
    def testsets(self) -> list[str]:
        """The names of the test sets, in the order of bin's test, test1, ...; exits unless bin holds just as many."""
        path = self.data / "testsets"
        names = list(filter(None, read_lines(path)))
        if not names:
            sys.exit(f"{self.data} was prepared without a test set: there is nothing to evaluate on")
        for name in names:
            if not re.fullmatch(r"\w[\w.+-]*", name) or names.count(name) > 1:
                sys.exit(f"{path}: must hold the name of a test set on each line, each once; one is '{name}'")
        found = len({path.name.split(".")[0] for path in self.bin.glob("test*.*.idx")})
        if found != len(names):
            sys.exit(f"{path} names {len(names)} test sets, {self.bin} holds {found}; was one removed?")
        return names

    def lengths(self, subset: str) -> numpy.ndarray:
        """Return the tokens, ends of sentences included, of each source and target sentence: (sentences, 2)."""
        from fairseq.data import data_utils

        for pair in (f"{self.source}-{self.target}", f"{self.target}-{self.source}"):
            stems = [self.bin / f"{subset}.{pair}.{lang}" for lang in (self.source, self.target)]
            if all(Path(f"{stem}.{end}").is_file() for stem in stems for end in ("bin", "idx")):
                with failure_in_one_line(f"reading {self.bin}, {subset}"):
                    texts = [data_utils.load_indexed_dataset(str(stem), None) for stem in stems]
                    return numpy.stack([numpy.array(text.sizes) for text in texts], 1)
        sys.exit(f"{self.bin} has no text {subset}.{self.source}-{self.target}")


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


EMPTY = Hypothesis("", 0.0, 1)


def read_run(folder: Path) -> Run:
    """Return a translation run that scripts/train.sh made; exit if it is none, or if its data is not there."""
    cfg = read_config(folder)
    found = {key: setting(folder, cfg, f"task.{key}", str) for key in ("data", "source_lang", "target_lang")}
    if missing := [key for key, value in found.items() if value is None]:
        sys.exit(f"{folder}/train.yaml says nothing of task.{missing[0]}: is this a run of a translation task?")
    for key in ("source_lang", "target_lang"):
        if not LANGUAGE.fullmatch(found[key]):
            sys.exit(f"{folder}/train.yaml, task.{key}: must be a language as in 'de', not '{found[key]}'")
    post_process = setting(folder, cfg, "common_eval.post_process", str, "subword_nmt")
    if post_process not in (None, *SUBWORDS):
        sys.exit(f"{folder}/train.yaml, common_eval.post_process: must be one of {SUBWORDS}, not '{post_process}'")
    binarized = check_path(ROOT / found["data"])
    if not (binarized.parent / "testsets").is_file():
        sys.exit(f"{binarized.parent} holds no prepared data (no file testsets)")
    check_dictionaries(folder, binarized)
    return Run(
        folder=check_path(folder.resolve()),
        bin=binarized,
        source=found["source_lang"],
        target=found["target_lang"],
        generation=setting(folder, cfg, "generation", dict, {}) or {},
        post_process=post_process,
        cpu=bool(setting(folder, cfg, "common.cpu", bool)),
    )


def decoding_of(run: Run, **changes: float | None) -> dict[str, Any]:
    """Return how to decode, by the names of fairseq's GenerationConfig: fairseq's values, the config's, the changes."""
    from fairseq.dataclass.configs import GenerationConfig

    where = f"{run.folder}/train.yaml, generation"
    try:
        known = OmegaConf.merge(OmegaConf.structured(GenerationConfig), run.generation)
    except OmegaConfBaseException as error:
        sys.exit(f"{where}: {str(error).splitlines()[0]}")
    named = {key: OmegaConf.select(known, key) for key in ("beam", "lenpen", *run.generation)}
    for key, value in named.items():
        if key not in SETTINGS:
            sys.exit(f"{where}.{key}: an evaluation does not take this setting; it takes {', '.join(SETTINGS)}")
        least, most = SETTINGS[key]
        if value is None or not least <= value <= most:
            sys.exit(f"{where}.{key}: must be from {least:g} to {most:g}, not {value}")
    return named | {key: value for key, value in changes.items() if value is not None}


def too_long(run: Run, checkpoint: Checkpoint, subset: str) -> numpy.ndarray:
    """Return for each sentence of a subset whether it, or its reference, is longer than the model's positions."""
    return numpy.any(run.lengths(subset) > checkpoint.positions, axis=1)


def generate(run: Run, checkpoint: Checkpoint, subset: str, how: dict[str, Any], out: Path) -> list[list[Hypothesis]]:
    """Decode a subset of the run's binarized data with fairseq-generate.

    Args:
        how: what `decoding_of` gives; nbest too.
        out: the folder where fairseq writes what is read here and removed.

    Returns:
        For each sentence, in the order of the corpus, its nbest hypotheses, the best first. Of a sentence that is too
        long, one that is empty.
    """
    lengths, skipped = run.lengths(subset), too_long(run, checkpoint, subset)
    if skipped.any():
        of_all = f"of {len(skipped):,}"
        lines = f"1 line {of_all} is" if skipped.sum() == 1 else f"{skipped.sum():,} lines {of_all} are"
        positions = " and ".join(str(number) for number in dict.fromkeys(checkpoint.positions))
        print(f"{lines} longer than the model's {positions} positions: scored as empty", flush=True)
    if skipped.all():
        return [[EMPTY] for _ in skipped]
    # --flag=value: no value of a config becomes an option.
    argv = ["fairseq-generate", str(run.bin), f"--source-lang={run.source}", f"--target-lang={run.target}"]
    argv += [f"--gen-subset={subset}", f"--path={checkpoint.path}", f"--results-path={out}"]
    argv += [f"--post-process={run.post_process}"] if run.post_process else []
    argv += [f"--max-{side}-positions={n}" for side, n in zip(("source", "target"), checkpoint.positions, strict=True)]
    argv += [f"--max-tokens={max(MAX_TOKENS, lengths[~skipped].max())}", "--skip-invalid-size-inputs-valid-test"]
    # With another batch size multiple than 1 fairseq leaves out the sentences of the last, incomplete batch.
    argv += ["--required-batch-size-multiple=1", "--num-workers=0"]
    argv += ["--cpu"] * run.cpu + ["--no-progress-bar"] * (not sys.stderr.isatty())
    for key, value in how.items():
        flag = "--" + key.replace("_", "-")
        if value is True:
            argv.append(flag)
        elif value is not False:
            argv.append(f"{flag}={value}")
    os.chdir(ROOT)  # relative paths in a config start there
    sys.argv = argv
    with failure_in_one_line(f"decoding {subset} with {checkpoint.origin}"):
        from fairseq_cli.generate import cli_main

        cli_main()
    generated = out / f"generate-{subset}.txt"
    found = read_generated(generated)
    generated.unlink()
    if found.keys() != {number for number, skip in enumerate(skipped) if not skip}:
        sys.exit(f"decoding {subset} with {checkpoint.origin} failed: fairseq decoded {len(found)} of {len(skipped)}")
    return [found.get(number, [EMPTY]) for number in range(len(skipped))]


def read_generated(path: Path) -> dict[int, list[Hypothesis]]:
    """Return what fairseq-generate wrote: the hypotheses of each sentence, by its number, best first."""
    found: dict[int, list[Hypothesis]] = {}
    for line in read_lines(path):
        if match := re.fullmatch(r"H-(\d+)\t([^\t]*)\t(.*)", line, re.DOTALL):
            found.setdefault(int(match[1]), []).append(Hypothesis(match[3], float(match[2]), 0))
        elif match := re.fullmatch(r"P-(\d+)\t(.*)", line):  # the log-probability of each subword of the one before
            of_sentence = found[int(match[1])]
            of_sentence[-1] = of_sentence[-1]._replace(length=len(match[2].split()))
    return dict(sorted(found.items()))


def rerank(hypotheses: list[Hypothesis], lenpen: float) -> Hypothesis:
    """Return the best of a sentence's hypotheses, decoded with length penalty 0, for another length penalty.

    This equals decoding anew. Until fairseq's beam search (`SequenceGenerator`) ends, it compares sums of
    log-probabilities alone: the penalty divides the score of a hypothesis when that is finished, the search ends when
    `beam` hypotheses are finished, and the penalty orders them at the end.
    """
    return max(hypotheses, key=lambda hypothesis: hypothesis.score / hypothesis.length**lenpen)
