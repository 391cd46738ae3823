"""Decode the test sets of a translation run and score them: the command scripts/evaluate_translation.sh."""

import sys
from pathlib import Path
from typing import Any

from recipes import cli
from recipes.data.preparation import text_of, tokens_of
from recipes.evaluation import decoding
from recipes.evaluation.checkpoint_choice import Checkpoint, ModelParser, chosen_checkpoint
from recipes.evaluation.score import describe, scores, text_metrics, write_scored
from recipes.files import whole_folder
from recipes.text.moses import plain_text


def evaluate(run: decoding.Run, checkpoint: Checkpoint, how: dict[str, Any], out: Path) -> None:
    """Decode the test sets as `decoding_of` says. Print their scores, and write all to a folder."""
    if run.plain:
        print(run.plain)
    text_metrics(run.target, run.prepared.lowercase)  # exits before hours of decoding if it cannot score
    settings = ", ".join(f"{key} {value}" for key, value in how.items())
    with whole_folder(out) as part:
        for index, testset in enumerate(run.testsets):
            tok, txt = run.references("tok", testset), run.references("raw", testset)
            print(f"Decoding {testset}: {checkpoint.name}, {settings}", flush=True)
            hypotheses = [of_line[0] for of_line in decoding.generate(run, checkpoint, f"test{index or ''}", how, part)]
            if run.prepared.tokenized:  # the text that was given is tokens
                txt = [plain_text(lines, run.target, run.prepared.escaped) for lines in txt]
            joined = [hypothesis.text for hypothesis in hypotheses]
            tok.insert(0, tokens_of(joined, run.target, run.prepared))
            txt.insert(0, text_of(joined, run.target, run.prepared))
            try:
                result = scores(tok, txt, run.target, run.prepared.lowercase)
            except ValueError as error:
                sys.exit(f"{testset}: {error}; was the data changed?")
            result |= checkpoint.facts | {"decoding": how}
            result["scored_as_empty"] = sum(hypothesis is decoding.EMPTY for hypothesis in hypotheses)
            write_scored(part, testset, {"tok": tok, "txt": txt}, result)
            sys.stdout.write(describe(testset, result))
    print(f"Hypotheses and scores are in {out}")


def main() -> None:
    """Run the command evaluate_translation.sh."""
    arguments = ModelParser(several=True, out=True)
    arguments.add_argument("--beam", type=cli.positive)
    arguments.add_argument("--lenpen", type=cli.penalty)
    args = arguments.parse_args()
    run = decoding.read_run(*args.runs)
    changes = {"beam": args.beam, "lenpen": args.lenpen}
    how = decoding.decoding_of(run, **changes)
    with chosen_checkpoint(args) as checkpoint:
        suffix = "".join(f"_{key}{value:g}" for key, value in changes.items() if value is not None)
        evaluate(run, checkpoint, how, args.results.evaluation(checkpoint.name + suffix))
