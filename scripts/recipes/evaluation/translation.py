"""Decode the test sets of a translation run and score them: the command scripts/evaluate_translation.sh."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes import cli
from recipes.data.preparation import text_of, tokens_of
from recipes.evaluation import decoding
from recipes.evaluation.checkpoint_choice import Checkpoint, ModelParser, chosen_checkpoint
from recipes.evaluation.score import describe, scores, text_metrics
from recipes.evaluation.testsets import Measure, Texts, score_testsets
from recipes.text.moses import plain_text


def evaluate(run: decoding.Run, checkpoint: Checkpoint, how: dict[str, Any], out: Path) -> None:
    """Decode the test sets as `decoding_of` says. Print their scores, and write all to a folder."""
    lang, lowercase = run.target, run.prepared.lowercase
    if run.plain:
        print(run.plain)
    text_metrics(lang, lowercase)  # exits before hours of decoding if it cannot score

    def references(testset: str) -> Texts:
        tok, txt = run.references("tok", testset), run.references("raw", testset)
        if run.prepared.tokenized:  # the text that was given is tokens
            txt = [plain_text(lines, lang, run.prepared.escaped) for lines in txt]
        return {"tok": tok, "txt": txt}

    def texts(joined: list[str]) -> dict[str, list[str]]:
        return {"tok": tokens_of(joined, lang, run.prepared), "txt": text_of(joined, lang, run.prepared)}

    def score(texts: Texts) -> dict[str, Any]:
        return scores(texts["tok"], texts["txt"], lang, lowercase)

    score_testsets(run, checkpoint, how, out, Measure(references, texts, score, describe))
    print(f"Hypotheses and scores are in {out}")


def main(arguments: Sequence[str]) -> None:
    """Run the command evaluate_translation.sh."""
    parser = ModelParser(several=True, out=True)
    parser.add_argument("--beam", type=cli.positive)
    parser.add_argument("--lenpen", type=cli.penalty)
    args = parser.parse_args(arguments)
    run = decoding.read_run(*args.runs)
    changes = {"beam": args.beam, "lenpen": args.lenpen}
    how = decoding.decoding_of(run, **changes)
    with chosen_checkpoint(args) as checkpoint:
        suffix = "".join(f"_{key}{value:g}" for key, value in changes.items() if value is not None)
        evaluate(run, checkpoint, how, args.results.evaluation(checkpoint.name + suffix))
