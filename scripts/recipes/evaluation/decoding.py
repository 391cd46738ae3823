"""Decode the texts of a translation run with fairseq-generate, as the run's config says."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.cli import MOST, STEEPEST
from recipes.data.prepared import GPT2, Prepared, is_prepared, read_prepared
from recipes.evaluation.checkpoint_choice import Checkpoint
from recipes.evaluation.plain_data import PlainData
from recipes.evaluation.safe_checkpoint import failure_in_one_line
from recipes.files import read_lines
from recipes.quiet import quiet
from recipes.training.run_folder import RunFolder

LANGUAGE = re.compile(r"[A-Za-z]\w*(?:-\w+)*")
SUBWORDS = ("subword_nmt", "sentencepiece", "wordpiece", "letter", "silence", "_EOW", "@@ ", "@@", "none")
# The settings of fairseq's GenerationConfig that a run's config may set, with the least and the greatest value: those
# of beam search and sampling. The other settings read files, or give scores that do not compare.
SETTINGS: dict[str, tuple[float, float]] = {
    "beam": (1, MOST),
    "lenpen": (-STEEPEST, STEEPEST),
    "temperature": (1e-9, MOST),
    "sampling_topp": (-1, 1),
    **dict.fromkeys(("max_len_a", "max_len_b", "min_len", "no_repeat_ngram_size"), (0, MOST)),
    **dict.fromkeys(("sampling_topk", "diverse_beam_groups"), (-1, MOST)),
    **dict.fromkeys(("unkpen", "diverse_beam_strength", "diversity_rate"), (-MOST, MOST)),
    **dict.fromkeys(("match_source_len", "unnormalized", "sampling"), (False, True)),
}
MAX_TOKENS = 4096  # of a batch; a longer line is a batch of its own
# fairseq would read embeddings from these files when it builds a model, though its checkpoint holds them.
WITHOUT_EMBEDDINGS = dict.fromkeys(("embed_path", "encoder_embed_path", "decoder_embed_path"))


@dataclass(frozen=True)
class Run:
    """What decoding needs to know about a translation run."""

    folder: RunFolder
    bin: Path  # the folder of the binarized data, beside raw and tok
    prepared: Prepared
    source: str  # language
    target: str
    generation: dict[str, Any]  # the settings of fairseq's GenerationConfig that the run's config sets
    post_process: str | None  # which kind of subwords to join: subword_nmt, sentencepiece, ...
    cpu: bool | None  # whether to decode without a GPU
    plain: PlainData | None = None  # the data, if fairseq-preprocess alone has made it
    cuts_source: bool = False  # whether a text that is longer than the model's positions is cut there

    def references(self, kind: str, name: str) -> list[list[str]]:
        """Return the references of a text: the files NAME.LANG, NAME.LANG0, ... in the folder `kind`, "raw" or "tok".

        These are the names that multi-bleu.perl looks for. A file of the source language is no reference, even if that
        language is called LANG0.
        """
        if self.plain:
            return [self.plain.reference(kind, name)]
        stem = f"{self.bin.parent}/{kind}/{name}."
        names = [f"{self.target}{number}" for number in ("", *range(10))]
        found = [path for lang in names if lang != self.source and (path := Path(stem + lang)).exists()]
        if not found:
            sys.exit(f"there is no reference {stem}{self.target}")
        return [read_lines(path) for path in found]

    @property
    def testsets(self) -> list[str]:
        """The names of the test sets, in the order of bin's test, test1, ... Exit if bin holds more or fewer."""
        names, data = self.prepared.testsets, self.bin.parent
        if not names:
            sys.exit(f"{data} was prepared without a test set: there is nothing to evaluate on")
        for name in names:
            if not re.fullmatch(r"\w[\w.+-]*", name) or names.count(name) > 1:
                sys.exit(f"{data}: each test set must have a name of its own, which is no path; one is '{name}'")
        found = len({path.name.split(".")[0] for path in self.bin.glob("test*.*.idx")})
        if found != len(names):
            sys.exit(f"{data} was prepared with {len(names)} test sets, {self.bin} holds {found}")
        return names

    def lengths(self, subset: str) -> numpy.ndarray:
        """Return the number of tokens, with the end of sentence, of each source and target line: (lines, 2)."""
        for pair in (f"{self.source}-{self.target}", f"{self.target}-{self.source}"):
            with failure_in_one_line(f"reading {self.bin}, {subset}"):
                from fairseq.data.data_utils import load_indexed_dataset

                stems = (f"{self.bin}/{subset}.{pair}.{lang}" for lang in (self.source, self.target))
                texts = [load_indexed_dataset(stem) for stem in stems]
                if None not in texts:
                    return numpy.stack([numpy.array(text.sizes) for text in texts], 1)
        sys.exit(f"{self.bin} has no text {subset}.{self.source}-{self.target}")


class Hypothesis(NamedTuple):
    """A finished hypothesis of beam search."""

    text: str  # the tokens, with subwords joined; the subwords, if an engine gives it
    score: float  # the log-probability in bits, divided by length**lenpen
    length: int  # in subwords, with the end of sentence


EMPTY = Hypothesis("", 0.0, 1)


def read_run(run: RunFolder, *others: RunFolder, of_data: bool = True) -> Run:
    """Return what decoding needs to know about a run. Exit if it trains no translation, or if its data is missing.

    Args:
        others: runs that decode with it. Exit unless they have its languages and its dictionaries.
        of_data: whether texts of the data are decoded. For other texts the run folder holds what is needed.
    """
    folder, data = (run.data.parent, run.data) if of_data else run.preparation
    source, target = languages(run)
    post_process = run.setting("common_eval.post_process", str, "subword_nmt")
    if post_process not in (None, *SUBWORDS):
        sys.exit(f"{run.train_yaml}, common_eval.post_process: must be one of {SUBWORDS}, not '{post_process}'")
    plain = None
    if not is_prepared(folder) and (data / f"dict.{target}.txt").is_file():
        told = OmegaConf.select(run.config, "common_eval.post_process") is not None
        plain = PlainData(data, source, target, post_process if told else None)
        prepared, post_process = plain.prepared, plain.post_process
    else:
        prepared = read_prepared(folder)
        if prepared.pieces:  # whatever the config says: configs are copied from data with BPE
            post_process = None if prepared.subwords == GPT2 else "sentencepiece"
    run.check_dictionaries(data)
    for other in others:
        if languages(other) != (source, target):
            pair = "-".join(languages(other))
            sys.exit(f"{other} translates {pair}, and {run} {source}-{target}: they cannot decode together")
        if other.known_dictionaries() != run.known_dictionaries():
            sys.exit(f"{other} was trained with other dictionaries than {run}: they cannot decode together")
    generation, cpu = run.setting("generation", dict) or {}, run.setting("common.cpu", bool)
    cuts_source = run.setting("task.truncate_source", bool, False)
    return Run(run, data, prepared, source, target, generation, post_process, cpu, plain, cuts_source)


def languages(run: RunFolder) -> tuple[str, str]:
    """Return the source and the target language of a run. Exit if its config does not say them."""
    source, target = (run.setting(f"task.{side}_lang", str) for side in ("source", "target"))
    for key, language in (("source_lang", source), ("target_lang", target)):
        if not LANGUAGE.fullmatch(language or ""):
            wrong = f"must be a language as in 'de', not '{language}'; is this a run of a translation task?"
            sys.exit(f"{run.train_yaml}, task.{key}: {wrong}")
    return source, target


def decoding_of(run: Run, **changes: float | None) -> dict[str, Any]:
    """Return how to decode: settings of fairseq's GenerationConfig by name, always with beam and lenpen.

    A value comes from `changes` unless it is None there, or else from the run's config, or else from fairseq.
    """
    where = f"{run.folder.train_yaml}, generation"
    with quiet():
        from fairseq.dataclass.configs import GenerationConfig
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


def generate(run: Run, checkpoint: Checkpoint, subset: str, how: dict[str, Any], out: Path) -> list[list[Hypothesis]]:
    """Return the hypotheses of fairseq-generate for each line of a text such as "test1", the best first.

    A line has one hypothesis, EMPTY, if it or its reference has more tokens than the model takes.

    Args:
        how: what `decoding_of` returns; it may also hold nbest, the number of hypotheses.
        out: a folder for a temporary file.
    """
    lengths = run.lengths(subset)
    if run.cuts_source:
        lengths[:, 0] = numpy.minimum(lengths[:, 0], checkpoint.positions[0])
    fitting = numpy.all(lengths <= checkpoint.positions, axis=1)
    if not fitting.all():
        positions = " and ".join(str(number) for number in dict.fromkeys(checkpoint.positions))
        skipped = f"{(~fitting).sum():,} of {len(fitting):,} lines"
        print(f"longer than the model's {positions} positions, so scored as empty: {skipped}", flush=True)
    if not fitting.any():
        return [[EMPTY] for _ in fitting]
    values = {
        "source-lang": run.source,
        "target-lang": run.target,
        "gen-subset": subset,
        "path": checkpoint.fairseq_path,
        "model-overrides": str(WITHOUT_EMBEDDINGS).replace("'", '"'),  # hydra takes no single quotes
        "post-process": run.post_process or False,
        "truncate-source": run.cuts_source,
        "max-source-positions": checkpoint.positions[0],
        "max-target-positions": checkpoint.positions[1],
        "required-batch-size-multiple": 1,  # with another, fairseq leaves out what does not fill the last batch
        "skip-invalid-size-inputs-valid-test": True,
        "num-workers": 0,
        "cpu": bool(run.cpu),
        "no-progress-bar": not sys.stderr.isatty(),
        "max-tokens": max(MAX_TOKENS, lengths[fitting].max()),
        "results-path": out,
        **{key.replace("_", "-"): value for key, value in how.items()},
    }
    # Each value is joined to its flag, so that no value of a config can become a flag.
    flags = [f"--{key}" if value is True else f"--{key}={value}" for key, value in values.items() if value is not False]
    with failure_in_one_line(f"decoding {subset} with {checkpoint.origin}"):
        from fairseq import options
        from fairseq_cli import generate as fairseq_generate

        fairseq_generate.main(options.parse_args_and_arch(options.get_generation_parser(), [str(run.bin), *flags]))
    generated = out / f"generate-{subset}.txt"
    found = read_generated(generated)
    generated.unlink()
    if found.keys() != set(fitting.nonzero()[0]):
        sys.exit(f"decoding {subset} with {checkpoint.origin} failed: fairseq decoded {len(found)} of {len(fitting)}")
    return [found.get(number, [EMPTY]) for number in range(len(fitting))]


def read_generated(path: Path) -> dict[int, list[Hypothesis]]:
    """Return the hypotheses that fairseq-generate wrote: those of each line by its number, the best first."""
    found: dict[int, list[Hypothesis]] = {}
    for line in read_lines(path):
        if match := re.fullmatch(r"H-(\d+)\t([^\t]*)\t(.*)", line, re.DOTALL):
            found.setdefault(int(match[1]), []).append(Hypothesis(match[3], float(match[2]), 0))
        elif match := re.fullmatch(r"P-(\d+)\t(.*)", line):  # a log-probability for each subword of the last hypothesis
            of_line = found[int(match[1])]
            of_line[-1] = of_line[-1]._replace(length=len(match[2].split()))
    return dict(sorted(found.items()))


def rerank(hypotheses: list[Hypothesis], lenpen: float) -> Hypothesis:
    """Return the hypothesis of a line that is best with a length penalty, from those found with length penalty 0.

    It is what decoding with that penalty would give: fairseq's `SequenceGenerator` compares sums of log-probabilities
    until `beam` hypotheses are finished, and uses the penalty only to put these in order.
    """
    return max(hypotheses, key=lambda hypothesis: hypothesis.score / hypothesis.length**lenpen)
