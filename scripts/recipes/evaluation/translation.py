"""Decode the test sets of a translation run and score them: the command scripts/evaluate_translation.sh."""

import sys
from typing import Any

from recipes import cli
from recipes.evaluation import decoding
from recipes.evaluation.checkpoint_choice import Checkpoint, chosen_checkpoint, parser
from recipes.evaluation.score import describe, plain_text, scores, write_scored
from recipes.files import whole_folder


def evaluate(run: decoding.Run, checkpoint: Checkpoint, how: dict[str, Any], name: str) -> None:
    """Decode and score the test sets. Print the scores, and write RUN/evaluation/NAME when all are complete.

    Args:
        how: what `decoding.decoding_of` returns.
    """
    out = run.folder.evaluation(name)
    settings = ", ".join(f"{key} {value}" for key, value in how.items())
    with whole_folder(out) as part:
        for index, testset in enumerate(run.testsets):
            raw, tok = run.references("raw", testset), run.references("tok", testset)
            print(f"Decoding {testset}: {checkpoint.name}, {settings}", flush=True)
            hypotheses = [of_line[0] for of_line in decoding.generate(run, checkpoint, f"test{index or ''}", how, part)]
            tokens = [hypothesis.text for hypothesis in hypotheses]
            text = plain_text(tokens, run.target, run.prepared.escaped)
            try:
                result = scores(tokens, text, tok, raw, run.target, run.prepared.lowercase)
            except ValueError as error:
                sys.exit(f"{testset}: {error}; was the data changed?")
            result |= checkpoint.facts | {"decoding": how}
            result["scored_as_empty"] = sum(hypothesis is decoding.EMPTY for hypothesis in hypotheses)
            # These names suit multi-bleu.perl: multi-bleu.perl NAME.tok.ref < NAME.tok
            kept = {"tok": tokens, "txt": text}
            for kind, references in (("tok", tok), ("txt", raw)):
                kept |= {f"{kind}.ref{number}": lines for number, lines in enumerate(references)}
            write_scored(part, testset, kept, result)
            sys.stdout.write(describe(testset, result))
    print(f"Hypotheses and scores are in {out}")


def main() -> None:
    """Run the command evaluate_translation.sh."""
    arguments = parser()
    arguments.add_argument("--beam", type=cli.positive)
    arguments.add_argument("--lenpen", type=cli.penalty)
    args = arguments.parse_args()
    run = decoding.read_run(args.run)
    changes = {"beam": args.beam, "lenpen": args.lenpen}
    how = decoding.decoding_of(run, **changes)
    with chosen_checkpoint(args) as checkpoint:
        suffix = "".join(f"_{key}{value:g}" for key, value in changes.items() if value is not None)
        evaluate(run, checkpoint, how, checkpoint.name + suffix)
