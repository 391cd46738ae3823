"""Decode the test sets of a translation run and score them: see scripts/evaluate_translation.sh."""

import sys
from pathlib import Path
from typing import Any

import arguments
import decoding
from score import describe, plain_text, scores, write_scored


def evaluate(run: decoding.Run, checkpoint: Path, how: dict[str, Any], name: str, out: Path) -> None:
    """Decode and score the test sets of a run; print the scores, write texts and scores to the folder `out`.

    Args:
        how: what `decoding.decoding_of` gives.
        name: what the scores call the checkpoint.
    """
    for index, testset in enumerate(run.testsets):
        print(f"Decoding {testset}: {name}, {', '.join(f'{key} {value}' for key, value in how.items())}", flush=True)
        hypotheses = decoding.generate(run, checkpoint, f"test{index or ''}", how, out)
        tokens = [of_sentence[0].text for of_sentence in hypotheses]
        references = {kind: run.references(kind, testset) for kind in ("tok", "raw")}
        decoding.check_lengths(testset, tokens, references["tok"] + references["raw"])
        text = plain_text(tokens, run.target, run.escaped)
        result = scores(tokens, text, references["tok"], references["raw"], run.target, run.lowercase)
        result["checkpoint"], result["decoding"] = name, how
        # named as multi-bleu.perl wants it: multi-bleu.perl NAME.tok.ref < NAME.tok
        kept = {"tok": tokens, "txt": text}
        kept |= {f"tok.ref{i}": lines for i, lines in enumerate(references["tok"])}
        kept |= {f"txt.ref{i}": lines for i, lines in enumerate(references["raw"])}
        write_scored(out, testset, kept, result)
        sys.stdout.write(describe(testset, result))


def evaluate_whole(run: decoding.Run, checkpoint: Path, how: dict[str, Any], name: str, folder: str) -> None:
    """`evaluate` to RUN/evaluation/FOLDER, which is there whole or as it was before."""
    out = run.folder / "evaluation" / folder
    with decoding.made_whole(out) as part:
        evaluate(run, checkpoint, how, name, part)
    print(f"Hypotheses and scores are in {out}")


def main() -> None:
    parser = decoding.parser(__doc__)
    parser.add_argument("--beam", type=arguments.positive)
    parser.add_argument("--lenpen", type=arguments.number)
    args = parser.parse_args()
    run = decoding.read_run(args.run)
    changes = {"beam": args.beam, "lenpen": args.lenpen}
    how = decoding.decoding_of(run, **changes)
    name = decoding.checkpoint_name(args)
    folder = name + "".join(f"_{key}{value:g}" for key, value in changes.items() if value is not None)
    with decoding.chosen_checkpoint(args) as checkpoint:
        evaluate_whole(run, checkpoint, how, name, folder)


if __name__ == "__main__":
    arguments.run(main)
