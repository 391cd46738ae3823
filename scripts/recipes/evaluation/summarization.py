"""Summarize the test sets of a run and score the summaries: the command scripts/evaluate_summarization.sh."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipes import cli
from recipes.data.preparation import Preparation, text_of
from recipes.data.prepared import CHARACTERS
from recipes.evaluation import decoding
from recipes.evaluation.checkpoint_choice import Checkpoint, ModelParser, chosen_checkpoint
from recipes.evaluation.rouge import describe, metrics, rouge_scores
from recipes.evaluation.testsets import Measure, Texts, score_testsets

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

    def texts(joined: list[str]) -> dict[str, list[str]]:
        return {"txt": plain(joined)}

    def score(texts: Texts) -> dict[str, Any]:
        return rouge_scores(texts["txt"], by_characters) | {"lang": run.target, "lowercase": run.prepared.lowercase}

    measure = Measure(lambda testset: {"txt": run.references("raw", testset)}, texts, score, describe)
    score_testsets(run, checkpoint, how, out, measure)
    print(f"Summaries and scores are in {out}")


def main(arguments: Sequence[str]) -> None:
    """Run the command evaluate_summarization.sh."""
    parser = ModelParser(several=True, out=True)
    parser.add_argument("--beam", type=cli.positive)
    parser.add_argument("--lenpen", type=cli.penalty)
    for name in ("--max-len-b", "--min-len", "--no-repeat-ngram-size"):
        parser.add_argument(name, type=cli.natural)
    args = parser.parse_args(arguments)
    run = decoding.read_run(*args.runs)
    run = replace(run, generation={**PUBLISHED, **run.generation})
    names = ("beam", "lenpen", "max_len_b", "min_len", "no_repeat_ngram_size")
    changes = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    how = decoding.decoding_of(run, **changes)
    with chosen_checkpoint(args) as checkpoint:
        suffix = "".join(f"_{key.replace('_', '-')}{value:g}" for key, value in changes.items())
        evaluate(run, checkpoint, how, args.results.evaluation(checkpoint.name + suffix))
