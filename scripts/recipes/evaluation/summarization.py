"""Summarize the test sets of a run and score the summaries: the command scripts/evaluate_summarization.sh."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipes import cli
from recipes.data.preparation import Preparation, text_of
from recipes.data.prepared import CHARACTERS
from recipes.evaluation import decoding
from recipes.evaluation.checkpoint_choice import Checkpoint, ModelParser, chosen_checkpoint
from recipes.evaluation.rouge import describe, metrics, rouge_scores
from recipes.evaluation.score import write_scored
from recipes.files import whole_folder

# How the paper, and BART before it, decodes CNN/DailyMail: what the config of a run does not say.
PUBLISHED = {"beam": 4, "lenpen": 2.0, "max_len_a": 0, "max_len_b": 140, "min_len": 55, "no_repeat_ngram_size": 3}


def evaluate(run: decoding.Run, checkpoint: Checkpoint, how: dict[str, Any], out: Path) -> None:
    """Summarize the test sets as `how` says. Print their scores, and write all to a folder."""
    if run.plain:
        print(run.plain)
        plain = lambda lines: text_of(lines, run.target, run.prepared)  # noqa: E731
    else:
        run = replace(run, post_process=None)  # the preparation joins what it has made
        plain = Preparation(run.bin.parent).decode(run.target)
    by_characters = run.prepared.subwords == CHARACTERS
    metrics(by_characters)  # exits before hours of decoding if it cannot score
    settings = ", ".join(f"{key} {value}" for key, value in how.items())
    with whole_folder(out) as part:
        for index, testset in enumerate(run.testsets):
            references = run.references("raw", testset)
            print(f"Decoding {testset}: {checkpoint.name}, {settings}", flush=True)
            hypotheses = [of_line[0] for of_line in decoding.generate(run, checkpoint, f"test{index or ''}", how, part)]
            texts = [plain([hypothesis.text for hypothesis in hypotheses]), *references]
            try:
                result = rouge_scores(texts, by_characters)
            except ValueError as error:
                sys.exit(f"{testset}: {error}; was the data changed?")
            result |= {"lang": run.target, "lowercase": run.prepared.lowercase} | checkpoint.facts | {"decoding": how}
            result["scored_as_empty"] = sum(hypothesis is decoding.EMPTY for hypothesis in hypotheses)
            write_scored(part, testset, {"txt": texts}, result)
            sys.stdout.write(describe(testset, result))
    print(f"Summaries and scores are in {out}")


def main() -> None:
    """Run the command evaluate_summarization.sh."""
    arguments = ModelParser(several=True, out=True)
    arguments.add_argument("--beam", type=cli.positive)
    arguments.add_argument("--lenpen", type=cli.penalty)
    for name in ("--max-len-b", "--min-len", "--no-repeat-ngram-size"):
        arguments.add_argument(name, type=cli.natural)
    args = arguments.parse_args()
    run = decoding.read_run(*args.runs)
    run = replace(run, generation={**PUBLISHED, **run.generation})
    names = ("beam", "lenpen", "max_len_b", "min_len", "no_repeat_ngram_size")
    changes = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    how = decoding.decoding_of(run, **changes)
    with chosen_checkpoint(args) as checkpoint:
        suffix = "".join(f"_{key.replace('_', '-')}{value:g}" for key, value in changes.items())
        evaluate(run, checkpoint, how, args.results.evaluation(checkpoint.name + suffix))
