"""Decode the test sets of a run and score them: what evaluations of translations and of summaries share."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.evaluation import decoding
from recipes.evaluation.checkpoint_choice import Checkpoint
from recipes.evaluation.score import write_scored
from recipes.files import whole_folder

Texts = dict[str, list[list[str]]]  # "tok" for tokens, "txt" for plain text: what was decoded, then the references


@dataclass(frozen=True)
class Measure:
    """How what was decoded is scored.

    Attributes:
        references: returns the references of a test set by kind, "tok" or "txt".
        texts: returns what was decoded, whose subwords are joined, by the same kinds.
        score: returns the scores. It raises ValueError if texts have different numbers of lines.
        describe: returns the lines that tell a user the scores of a test set.
    """

    references: Callable[[str], Texts]
    texts: Callable[[list[str]], dict[str, list[str]]]
    score: Callable[[Texts], dict[str, Any]]
    describe: Callable[[str, dict[str, Any]], str]


def score_testsets(run: decoding.Run, checkpoint: Checkpoint, how: dict[str, Any], out: Path, by: Measure) -> None:
    """Decode the test sets as `how` says. Print their scores, and write all to a folder."""
    settings = ", ".join(f"{key} {value}" for key, value in how.items())
    with whole_folder(out) as part:
        for index, testset in enumerate(run.testsets):
            references = by.references(testset)
            print(f"Decoding {testset}: {checkpoint.name}, {settings}", flush=True)
            hypotheses = [of_line[0] for of_line in decoding.generate(run, checkpoint, f"test{index or ''}", how, part)]
            decoded = by.texts([hypothesis.text for hypothesis in hypotheses])
            texts = {kind: [decoded[kind], *references[kind]] for kind in references}
            try:
                result = by.score(texts)
            except ValueError as error:
                sys.exit(f"{testset}: {error}; was the data changed?")
            result |= checkpoint.facts | {"decoding": how}
            result["scored_as_empty"] = sum(hypothesis is decoding.EMPTY for hypothesis in hypotheses)
            write_scored(part, testset, texts, result)
            sys.stdout.write(by.describe(testset, result))
