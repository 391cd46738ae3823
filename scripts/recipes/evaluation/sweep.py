"""Choose beam size and length penalty of a translation run on validation: the command scripts/sweep_decoding.sh."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes import cli
from recipes.data.preparation import tokens_of
from recipes.evaluation.checkpoint_choice import Checkpoint, ModelParser, chosen_checkpoint
from recipes.evaluation.decoding import Run, decoding_of, generate, read_run, rerank
from recipes.evaluation.score import multi_bleu, multi_bleu_line, text_metrics
from recipes.evaluation.translation import evaluate
from recipes.files import whole_folder
from recipes.table import markdown_table


def sweep(
    run: Run, checkpoint: Checkpoint, beams: list[int], lenpens: list[float], folder: Path
) -> list[dict[str, Any]]:
    """Return beam, lenpen, tokenized BLEU on validation and its line for each setting. Use `folder` for a while."""
    references = run.references("tok", "valid")
    found = []
    for beam in beams:
        print(f"Decoding the validation set with beam {beam}", flush=True)
        how = decoding_of(run, beam=beam, lenpen=0.0) | {"nbest": beam}
        hypotheses = generate(run, checkpoint, "valid", how, folder)
        for lenpen in lenpens:
            best = [rerank(of_line, lenpen).text for of_line in hypotheses]
            try:
                score = multi_bleu(tokens_of(best, run.target, run.prepared), references)
            except ValueError as error:
                sys.exit(f"valid: {error}; was the data changed?")
            found.append({"beam": beam, "lenpen": lenpen, "bleu": score.score, "line": multi_bleu_line(score)})
    return found


def main(arguments: Sequence[str]) -> None:
    """Run the command sweep_decoding.sh."""
    parser = ModelParser(several=True, out=True)
    parser.add_argument("--beams", type=cli.list_of(cli.positive), default=[4, 5, 6])
    parser.add_argument("--lenpens", type=cli.list_of(cli.penalty), default=[0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6])
    args = parser.parse_args(arguments)
    run = read_run(*args.runs)
    if run.generation.get("unnormalized"):
        sys.exit(f"{args.run.train_yaml} sets generation.unnormalized: length penalties have no effect on this run")
    text_metrics(run.target, run.prepared.lowercase)  # exits before hours of decoding if it cannot score
    with chosen_checkpoint(args) as checkpoint:
        with whole_folder(args.results.path / "sweep" / checkpoint.name) as part:
            tried = sweep(run, checkpoint, args.beams, args.lenpens, part)
            best = max(tried, key=lambda row: row["bleu"])
            result = {"tried": tried, "chosen": best, **checkpoint.facts}
            (part / "valid.json").write_text(json.dumps(result, indent=2) + "\n")
        rows = [["beam", "lenpen", "BLEU on validation", ""]]
        for row in tried:
            line = row["line"].removeprefix("BLEU = ")
            rows.append([str(row["beam"]), f"{row['lenpen']:g}", line, "chosen" if row is best else ""])
        sys.stdout.write(markdown_table(rows))
        how = decoding_of(run, beam=best["beam"], lenpen=best["lenpen"])
        name = f"{checkpoint.name}_beam{best['beam']}_lenpen{best['lenpen']:g}"
        evaluate(run, checkpoint, how, args.results.evaluation(name))
