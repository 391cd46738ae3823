"""Measure how consistent a model is under dropout, on the validation set: the command scripts/consistency.py.

With dropout a training trains many models, whose predictions one would average ("model averaging"); a test takes the
one model without dropout ("weight averaging"). R-Drop is said to bring the two together.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from rdrop_fairseq.divergence import divergence
from recipes import cli
from recipes.data.preparation import tokens_of
from recipes.evaluation.checkpoint_choice import Checkpoint, ModelParser, chosen_checkpoint
from recipes.evaluation.decoding import decoding_of, generate, read_run
from recipes.evaluation.fairseq_engine import WITHOUT_EMBEDDINGS
from recipes.evaluation.safe_checkpoint import failure_in_one_line
from recipes.evaluation.score import multi_bleu
from recipes.figure import draw_figure
from recipes.files import own_folder, progress, write_whole
from recipes.table import markdown_table, spread
from recipes.training.run_folder import RunFolder

MAX_TOKENS = 1024  # of a batch
SEED = 1
LIKELIHOODS = ("one pass", "average", "without dropout")
COLUMNS = {
    "divergence": "divergence of two passes",
    "one pass": "NLL of one pass",
    "average": "NLL of the average",
    "without dropout": "NLL without dropout",
    "gap": "NLL gap",
    "average to without": "KL(average, without dropout)",
    "bleu average": "BLEU of the average",
    "bleu without dropout": "BLEU without dropout",
    "bleu gap": "BLEU gap",
}


@torch.no_grad()
def measure(model: Any, samples: Iterable[dict[str, Any]], padding: int, passes: int) -> dict[str, float]:
    """Return means over the target tokens, in bits, of what the keys "divergence" to "average to without" name.

    Args:
        samples: batches of fairseq.
        passes: K; the average is that of the probabilities of K passes with dropout. The divergence is the symmetric
            KL of the passes 1 and 2, 3 and 4, ...

    Raises:
        ValueError: if no sample has a target.
    """
    sums = dict.fromkeys(("divergence", *LIKELIHOODS, "average to without"), 0.0)
    count = 0
    for sample in samples:
        target = model.get_targets(sample, None)
        wanted = target != padding
        target = target[wanted].unsqueeze(-1)

        def lprobs(sample: dict[str, Any] = sample, wanted: Any = wanted) -> Any:
            """Return the log-probabilities of one forward at the target tokens, [N, V]."""
            net_output = model(**sample["net_input"])
            return model.get_normalized_probs(net_output, log_probs=True)[wanted].float()

        model.eval()
        free = lprobs()
        model.train()
        before = average = lprobs()
        of_target = [average.gather(-1, target)]
        apart = []
        for number in range(1, passes):
            this = lprobs()
            of_target.append(this.gather(-1, target))
            if number % 2:
                apart.append(divergence(torch.stack([before, this]), "symmetric").sum().item())
            before, average = this, torch.logaddexp(average, this)
        average = average - math.log(passes)
        sums["divergence"] += mean(apart)
        sums["one pass"] -= torch.stack(of_target).mean(0).sum().item()
        sums["average"] -= average.gather(-1, target).sum().item()
        sums["without dropout"] -= free.gather(-1, target).sum().item()
        sums["average to without"] += (average.exp() * (average - free)).sum().item()
        count += len(target)
    if not count:
        raise ValueError("the validation set has no target")
    found = {key: total / count / math.log(2) for key, total in sums.items()}
    return found | {"gap": found["without dropout"] - found["average"]}


def likelihoods(run: RunFolder, checkpoint: Checkpoint, passes: int) -> dict[str, float]:
    """Return what `measure` gives for the validation set of a run, cut into samples as in its training."""
    with failure_in_one_line(f"measuring {checkpoint.origin} on {run.data}"):
        from fairseq import checkpoint_utils, utils

        files = {"data": str(run.data), **WITHOUT_EMBEDDINGS}
        (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(checkpoint.path)], arg_overrides=files)
        on_gpu = torch.cuda.is_available() and not run.setting("common.cpu", bool)
        if on_gpu:
            model.cuda()
        task.load_dataset("valid")
        batches = task.get_batch_iterator(
            task.dataset("valid"),
            max_tokens=MAX_TOKENS,
            max_positions=utils.resolve_max_positions(task.max_positions(), model.max_positions()),
            ignore_invalid_inputs=True,
        ).next_epoch_itr(shuffle=False)
        utils.set_torch_seed(SEED)
        with progress(str(run), len(batches), "batch") as bar:

            def samples() -> Iterable[dict[str, Any]]:
                for sample in batches:
                    yield utils.move_to_cuda(sample) if on_gpu else sample
                    bar.update()

            return measure(model, samples(), task.target_dictionary.pad(), passes)


def bleus(folder: RunFolder, checkpoint: Checkpoint, passes: int, beam: int | None) -> dict[str, float]:
    """Return tokenized BLEU on validation of the average of the passes, and that without dropout.

    The average is an ensemble of fairseq's: the same model several times, each with dropout of its own.
    """
    run = read_run(folder)
    references = run.references("tok", "valid")
    several = replace(checkpoint, paths=checkpoint.paths * passes)
    dropout = {"retain_dropout": True, "seed": SEED}
    found = {}
    with own_folder(folder.path, "consistency") as temporary:
        for name, models, more in (("average", several, dropout), ("without dropout", checkpoint, {})):
            print(f"Decoding the validation set of {folder}: {name}", file=sys.stderr, flush=True)
            lines = generate(run, models, "valid", decoding_of(run, beam=beam) | more, temporary)
            tokens = tokens_of([of_line[0].text for of_line in lines], run.target, run.prepared)
            try:
                found[f"bleu {name}"] = multi_bleu(tokens, references).score
            except ValueError as error:
                sys.exit(f"valid: {error}; was the data changed?")
    return found | {"bleu gap": found["bleu without dropout"] - found["bleu average"]}


def measure_run(folder: RunFolder, passes: int, beam: int | None, decode: bool) -> dict[str, float]:
    """Return all numbers of a run. Exit if it is neither a translation nor a language model, or has no checkpoint."""
    if folder.kind not in ("translation", "language_model"):
        sys.exit(f"{folder} trains neither translation nor a language model: its task is {folder.task or 'not named'}")
    folder.check_dictionaries(folder.data)
    with chosen_checkpoint(ModelParser().parse_args([str(folder)])) as checkpoint:
        numbers = likelihoods(folder, checkpoint, passes)
        if folder.kind == "translation" and decode:
            numbers |= bleus(folder, checkpoint, passes, beam)
    return numbers


def table(runs: list[dict[str, Any]]) -> str:
    """Return a Markdown table with a row for each run, and one with mean and deviation for the seeds of a config."""
    keys = [key for key in COLUMNS if key in runs[0]["numbers"]]
    rows = [["run", "seed", *(COLUMNS[key] for key in keys)]]
    for name in dict.fromkeys(run["name"] for run in runs):
        members = [run for run in runs if run["name"] == name]
        rows += [[name, run["seed"], *(f"{run['numbers'][key]:.3f}" for key in keys)] for run in members]
        if len(members) > 1:
            of = [[run["numbers"][key] for run in members] for key in keys]
            rows.append([f"**{name}**", "mean ± std", *(spread(values, 3) for values in of)])
    return markdown_table(rows)


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Draw the divergence, and average and model without dropout side by side, with a line for each run.

    If matplotlib is not installed, print a line, and remove an earlier figure.
    """
    panels: dict[str, dict[str, str]] = {
        "divergence (bits)": {"divergence": "two\npasses", "average to without": "average,\nwithout dropout"},
        "negative log-likelihood (bits)": {key: key.replace(" ", "\n", 1) for key in LIKELIHOODS},
    }
    if all("bleu gap" in run["numbers"] for run in runs):
        panels["BLEU"] = {f"bleu {key}": key.replace(" ", "\n", 1) for key in LIKELIHOODS[1:]}
    names = list(dict.fromkeys(run["name"] for run in runs))

    def fill(figure: Any) -> None:
        axes = figure.subplots(1, len(panels))
        for axis, (title, keys) in zip(axes, panels.items(), strict=True):
            for number, run in enumerate(runs):
                values = [run["numbers"][key] for key in keys]
                named = run["name"] not in [other["name"] for other in runs[:number]]
                color = f"C{names.index(run['name'])}"
                axis.plot(range(len(keys)), values, "o-", color=color, alpha=0.7, label=run["name"] if named else None)
            axis.set_xticks(range(len(keys)), list(keys.values()))
            axis.margins(x=0.2)
            axis.set_title(title)
            axis.grid(alpha=0.3)
        axes[0].legend()

    draw_figure(path, (4 * len(panels), 4), fill)


def several(text: str) -> int:
    """Return the number of passes that a text says."""
    number = cli.positive(text)
    if number < 2:
        raise argparse.ArgumentTypeError(f"must be at least 2, not '{text}'")
    return number


def main(arguments: Sequence[str]) -> None:
    """Run the command consistency.py."""
    parser = cli.Parser()
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--passes", type=several, default=10, metavar="K")
    parser.add_argument("--beam", type=cli.positive)
    parser.add_argument("--no-bleu", action="store_true")
    parser.add_argument("--out", type=cli.a_path, metavar="DIR")
    args = parser.parse_args(arguments)
    cli.check_each_once(args.runs)
    folders = [RunFolder(path) for path in args.runs]
    for folder in folders:
        if not folder.best.exists():
            sys.exit(f"there is no {folder.best}; has the run reached its first validation?")
    if len({folder.kind for folder in folders}) > 1:
        sys.exit("the runs are of several kinds: " + ", ".join(f"{folder} ({folder.kind})" for folder in folders))
    places = [Path(os.path.abspath(folder.path)) for folder in folders]
    common = Path(os.path.commonpath([place.parent.parent for place in places]))
    out = args.out or common / "consistency"
    runs = []
    for folder, place in zip(folders, places, strict=True):
        numbers = measure_run(folder, args.passes, args.beam, not args.no_bleu)
        name, seed = os.path.relpath(place.parent, common), place.name.removeprefix("seed")
        runs.append({"name": name, "seed": seed, "passes": args.passes, "numbers": numbers})
    text = table(runs)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "table.md", text)
    write_whole(out / "consistency.json", json.dumps(runs, indent=1) + "\n")
    draw(runs, out / "consistency.png")
    sys.stdout.write(text)
    print(f"The table and the numbers are in {out}")
