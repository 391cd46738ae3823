"""Translate lines of subwords with an exported model, by the library CTranslate2. See `Engine`."""

import logging
import math
import os
import sys
from pathlib import Path
from typing import Any

from recipes import cli
from recipes.evaluation.decoding import MAX_TOKENS, Hypothesis
from recipes.evaluation.exported import Exported
from recipes.training.settings import in_one_line

# Settings of fairseq's GenerationConfig that CTranslate2 knows too, and values with which the others do nothing.
KNOWN = {"beam", "lenpen", "unnormalized", "max_len_a", "max_len_b", "min_len", "no_repeat_ngram_size"}
WITHOUT_EFFECT = {
    "temperature": 1,
    "sampling": False,
    "sampling_topk": -1,
    "sampling_topp": -1,
    "unkpen": 0,
    "diverse_beam_groups": -1,
    "diverse_beam_strength": 0.5,
    "diversity_rate": -1,
    "match_source_len": False,
}
SPECIAL = {"<s>", "</s>", "<blank>"}  # fairseq does not print them, either


def check_settings(how: dict[str, Any], where: str) -> None:
    """Exit if CTranslate2 cannot decode with these settings."""
    for name, value in how.items():
        if name not in KNOWN and value != WITHOUT_EFFECT.get(name):
            sys.exit(f"{where}: CTranslate2 cannot decode with {name}={value}; it knows {', '.join(sorted(KNOWN))}")


class CTranslate2Engine:
    """An exported model. It runs on a GPU if CTranslate2 finds one, or else on all cores, or on OMP_NUM_THREADS."""

    def __init__(self, folder: Path, facts: Exported, cpu: bool = False, threads: int = 0) -> None:
        """Load the model. Exit if it cannot be loaded.

        Args:
            folder: that of the export.
            facts: what it says about its model.
            cpu: whether to use no GPU.
            threads: how many threads the CPU's matrices take, in place of those that are said above.
        """
        cli.need(["ctranslate2"])
        import ctranslate2

        self.facts = facts
        self.longest = facts.positions[0]
        check_settings(facts.generation, f"{folder}")
        device = "cuda" if not cpu and ctranslate2.get_cuda_device_count() else "cpu"
        told = os.environ.get("OMP_NUM_THREADS", "")
        threads = threads or (int(told) if told.isdigit() and int(told) else cli.cores())
        ctranslate2.set_log_level(logging.ERROR)  # it warns where weights are stored in a type that the device lacks
        try:
            self._translator = ctranslate2.Translator(str(folder), device=device, intra_threads=threads)
        except (RuntimeError, ValueError, OSError) as error:
            sys.exit(f"{folder} cannot be loaded by CTranslate2: {in_one_line(error)}")

    @property
    def other_type(self) -> str | None:
        """The type in which the model computes here, if the device lacks that of the weights."""
        stored, computed = self.facts.quantization, self._translator.compute_type
        # "int8" leaves the type beside the integers open.
        return None if computed == stored or computed.startswith(f"{stored}_") else computed

    def translate(self, lines: list[str], how: dict[str, Any], nbest: int) -> list[list[Hypothesis]]:
        """Return the hypotheses of each line. See `Engine`. CTranslate2 itself puts lines of like length together.

        Exit if it does not know a setting. A hypothesis without an end is cut where it is as long as `how` allows.
        """
        check_settings(how, "decoding")
        sources = [line.split() for line in lines]
        by_limit: dict[int, list[int]] = {}
        for number, source in enumerate(sources):
            by_limit.setdefault(self._limit(len(source) + 1, how), []).append(number)
        found: list[list[Hypothesis]] = [[] for _ in lines]
        for limit, numbers in by_limit.items():
            results = self._translator.translate_batch(
                [sources[number] for number in numbers],
                max_batch_size=MAX_TOKENS,
                batch_type="tokens",
                beam_size=how["beam"],
                num_hypotheses=nbest,
                length_penalty=0 if how.get("unnormalized") else how["lenpen"],
                max_input_length=0,  # or it would cut longer lines without a word
                max_decoding_length=limit,
                min_decoding_length=min(how.get("min_len", 1), limit),
                no_repeat_ngram_size=how.get("no_repeat_ngram_size", 0),
                return_scores=True,
            )
            for number, result in zip(numbers, results, strict=True):
                found[number] = [_hypothesis(*both) for both in zip(result.hypotheses, result.scores, strict=True)]
        return found

    def _limit(self, length: int, how: dict[str, Any]) -> int:
        """Return how many subwords a translation may have for a source of `length` subwords, as in fairseq."""
        most = int(how.get("max_len_a", 0) * length + how.get("max_len_b", 200))
        return max(1, min(most, self.facts.positions[1] - 1))


def _hypothesis(subwords: list[str], score: float) -> Hypothesis:
    """Return a hypothesis of CTranslate2's. Its score is a natural logarithm, divided as fairseq divides it."""
    text = " ".join(subword for subword in subwords if subword not in SPECIAL)
    return Hypothesis(text, score / math.log(2), len(subwords) + 1)
