"""Compare how fast trained runs translate, and how well: fairseq's search and the same models in CTranslate2.

python benchmarks/inference.py RUN... takes the first lines of each run's first test set, as subwords that are made
already, and translates them with fairseq's SequenceGenerator (what fairseq-generate and translate.sh use) and with the
run's exports for CTranslate2. Loading is not timed. All run on the CPU in one process, in turn, round by round; each
round has another order. BLEU is sacreBLEU of these lines, so it compares within the table alone.
"""

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import ratios
from measure import TRAIN_SH, Facts, arguments, ask, by_step, one_round, say, write
from recipes import cli
from recipes.data.preparation import Preparation
from recipes.evaluation import decoding
from recipes.evaluation.checkpoint_choice import ModelParser, chosen_checkpoint
from recipes.evaluation.ctranslate2_engine import CTranslate2Engine
from recipes.evaluation.export import source_lines, write_export
from recipes.evaluation.fairseq_engine import FairseqEngine
from recipes.evaluation.score import text_metrics
from recipes.evaluation.translator import Engine
from recipes.table import markdown_table

FAIRSEQ = "fairseq"
TYPES = ("float32", "int8")


@contextlib.contextmanager
def engines_of(run: decoding.Run, given: str, threads: list[int]) -> Iterator[tuple[dict[str, Engine], Facts]]:
    """Give the engines by kind and number of threads, as in "int8, 2", and the sizes of their models in MB by kind."""
    with chosen_checkpoint(ModelParser().parse_args([given])) as checkpoint, tempfile.TemporaryDirectory() as folder:
        engine = FairseqEngine(run, checkpoint, cpu=True)
        engines: dict[str, Engine] = {f"{FAIRSEQ}, {number}": engine for number in threads}
        parameters = {id(value): value for value in engine.models[0].parameters()}.values()
        sizes = {FAIRSEQ: sum(value.numel() * value.itemsize for value in parameters) / 1e6}
        for kind in TYPES:
            out = Path(folder, kind)
            out.mkdir()
            facts = write_export(run, checkpoint, kind, out, [])
            sizes[kind] = (out / "model.bin").stat().st_size / 1e6
            for number in threads:
                engines[f"{kind}, {number}"] = CTranslate2Engine(out, facts, cpu=True, threads=number)
        yield engines, sizes


def measure_run(given: str, count: int, threads: list[int], rounds: int) -> Facts:
    """Return the times of a run's engines, their BLEU and their sizes."""
    import torch

    run = decoding.read_run(ModelParser().parse_args([given]).run)
    how, name = decoding.decoding_of(run), run.testsets[0]
    references = [lines[:count] for lines in run.references("raw", name)]
    with engines_of(run, given, threads) as (engines, sizes):
        fairseq = f"{FAIRSEQ}, {threads[0]}"
        lines = source_lines(run, "test", engines[fairseq].longest)[:count]
        if len(lines) != len(references[0]):
            sys.exit(f"{given}: the first {count} lines of its test set must not be empty, or too long for its model")
        found: dict[str, list[str]] = {}

        def translate(key: str) -> None:
            kind, number = key.split(", ")
            if kind == FAIRSEQ:  # an engine of CTranslate2 has its own threads
                torch.set_num_threads(int(number))
            found[key] = [of_line[0].text for of_line in engines[key].translate(lines, how, 1)]

        steps = {key: functools.partial(translate, key) for key in engines}
        times = []
        for number in range(-1, rounds):
            times.append(one_round(steps, number))
            say(f"  {given}: round {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}")
    decode = Preparation(run.bin.parent).decode(run.target)
    bleu, _ = text_metrics(run.target, run.prepared.lowercase)
    return {
        "run": given,
        "model": run.folder.setting("model._name", str),
        "test": name,
        "lines": len(lines),
        "decoding": how,
        "threads": threads,
        "seconds": by_step(times),
        "bleu": {key: bleu.corpus_score(decode(texts), references).score for key, texts in found.items()},
        "bleu_signature": str(bleu.get_signature()),
        "equal": {key: sum(map(str.__eq__, texts, found[fairseq])) for key, texts in found.items()},
        "megabytes": sizes,
        "load": os.getloadavg()[0],
    }


def table(measured: Facts) -> str:
    """Return the table of a run."""
    rows = [["engine", "threads", "sentences a second", "times fairseq's", "BLEU", "equal to fairseq's", "model, MB"]]
    count = measured["lines"]
    for number in measured["threads"]:
        for kind in (FAIRSEQ, *TYPES):
            key = f"{kind}, {number}"
            speeds = sorted(count / seconds for seconds in measured["seconds"][key])
            faster = ratios.ratio(measured, f"{FAIRSEQ}, {number}", key)
            rows.append(
                [
                    kind if kind == FAIRSEQ else f"CTranslate2 {kind}",
                    str(number),
                    f"{median(speeds):.1f} ({speeds[0]:.1f} to {speeds[-1]:.1f})",
                    f"{faster:.2f}",
                    f"{measured['bleu'][key]:.2f}",
                    f"{measured['equal'][key]} of {count}",
                    f"{measured['megabytes'][kind]:.1f}",
                ]
            )
    settings = ", ".join(f"{key} {value}" for key, value in measured["decoding"].items())
    head = f"**{measured['run']}** ({measured['model']}): {count} lines of {measured['test']}, {settings}"
    return f"{head}\n\n{markdown_table(rows)}"


def main() -> None:
    """Measure, and write the tables."""
    parser = arguments(__doc__, 3, "results/inference")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders of scripts/train.sh")
    parser.add_argument("--lines", type=cli.positive, default=300, help="of the test set (default: %(default)s)")
    parser.add_argument("--threads", type=cli.positive, nargs="+", default=[1, 2], help="numbers (default: 1 2)")
    args = parser.parse_args()
    if args.quick:
        args.lines, args.threads = min(args.lines, 5), args.threads[:1]
    measured = []
    for run in args.runs:
        say(run)
        measured.append(ask(TRAIN_SH, measure_run, run, args.lines, args.threads, args.rounds))
    text = "\n".join(table(entry) for entry in measured)
    text += f"\nMedians of {args.rounds} rounds, with the least and the greatest; ratios are medians over the rounds.\n"
    write(args.out, "inference", text, {"measured": measured})


if __name__ == "__main__":
    main()
