"""Decode the test sets of a translation run and score them: the command scripts/evaluate_translation.sh."""

import sys
from pathlib import Path
from typing import Any

from recipes import cli
from recipes.evaluation import decoding
from recipes.evaluation.checkpoint_choice import Checkpoint, chosen_checkpoint, parser
from recipes.evaluation.score import describe, plain_text, scores, write_scored
from recipes.files import whole_folder


def evaluate(run: decoding.Run, checkpoint: Checkpoint, how: dict[str, Any], out: Path) -> None:
    """Decode and score the test sets of a run. Print the scores, and write texts and scores to the folder `out`.

    Args:
        how: what `decoding.decoding_of` returns.
    """
    settings = ", ".join(f"{key} {value}" for key, value in how.items())
    for index, testset in enumerate(run.testsets):
        subset = f"test{index or ''}"
        references = {kind: run.references(kind, testset) for kind in ("tok", "raw")}
        print(f"Decoding {testset}: {checkpoint.name}, {settings}", flush=True)
        tokens = [of_line[0].text for of_line in decoding.generate(run, checkpoint, subset, how, out)]
        text = plain_text(tokens, run.target, run.prepared.escaped)
        try:
            result = scores(tokens, text, references["tok"], references["raw"], run.target, run.prepared.lowercase)
        except ValueError as error:
            sys.exit(f"{testset}: {error}; was the data changed?")
        result |= checkpoint.facts | {"decoding": how}
        result["scored_as_empty"] = int(decoding.too_long(run, checkpoint, subset).sum())
        # These names suit multi-bleu.perl: multi-bleu.perl NAME.tok.ref < NAME.tok
        kept = {"tok": tokens, "txt": text}
        kept |= {f"tok.ref{i}": lines for i, lines in enumerate(references["tok"])}
        kept |= {f"txt.ref{i}": lines for i, lines in enumerate(references["raw"])}
        write_scored(out, testset, kept, result)
        sys.stdout.write(describe(testset, result))


def evaluate_whole(run: decoding.Run, checkpoint: Checkpoint, how: dict[str, Any], name: str) -> None:
    """Call `evaluate` and put the result into RUN/evaluation/NAME when it is complete."""
    out = run.folder.evaluation(name)
    with whole_folder(out) as part:
        evaluate(run, checkpoint, how, part)
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
        evaluate_whole(run, checkpoint, how, checkpoint.name + suffix)
