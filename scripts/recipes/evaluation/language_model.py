"""Perplexity of a language model's run on its validation and test text: see scripts/evaluate_lm.sh."""

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from tqdm import tqdm

from recipes import cli
from recipes.evaluation.checkpoint_choice import (
    Checkpoint,
    check_dictionaries,
    check_path,
    chosen_checkpoint,
    failure_in_one_line,
    parser,
    read_config,
    setting,
)
from recipes.files import whole_folder

SAMPLE, WINDOW = 512, 400  # of the paper's evaluation
BATCH_TOKENS = 2048  # whose logits exist at once


def choose_sample(asked: int | None, trained: int) -> int:
    """Return the tokens of a sample for a model trained on samples of so many; exit if those asked for do not fit."""
    if asked is None:
        return min(SAMPLE, trained)
    if asked > trained:
        sys.exit(f"--tokens-per-sample {asked}: must be at most the run's task.tokens_per_sample, {trained}")
    return asked


def choose_window(asked: int | None, sample: int) -> int:
    """Return the context window for samples of so many tokens; exit if the one that is asked for does not fit."""
    if asked is None:
        return WINDOW if sample > WINDOW else 3 * sample // 4
    if asked >= sample:
        sys.exit(f"--context-window {asked}: must be less than the tokens of a sample, {sample}")
    return asked


class Evaluator:
    """A checkpoint's model and its task, whose samples leave room for the context window."""

    def __init__(self, checkpoint: Checkpoint, data: Path, sample: int | None, window: int | None, cpu: bool) -> None:
        """``sample`` and ``window`` are those asked for, in tokens; None is the default."""
        from fairseq import checkpoint_utils, tasks

        state = checkpoint_utils.load_checkpoint_to_cpu(str(checkpoint.path))
        self.data = data
        config = state["cfg"]["task"]
        if not issubclass(tasks.TASK_REGISTRY.get(config._name, object), tasks.language_modeling.LanguageModelingTask):
            sys.exit(f"{checkpoint.origin} is no language model: its task is {config._name}")
        OmegaConf.set_struct(config, False)
        self.sample = choose_sample(sample, config.tokens_per_sample)
        self.window = choose_window(window, self.sample)
        config.tokens_per_sample, config.data = self.sample - self.window, str(data)
        # However the samples of training were cut: a window on anything but running text would leave out words.
        config.sample_break_mode, config.shorten_method, config.pad_to_fixed_length = "none", "none", False
        self.task = tasks.setup_task(config)
        try:
            (self.model,), _, _ = checkpoint_utils.load_model_ensemble_and_task(
                [str(checkpoint.path)], task=self.task, state=state
            )
        except (RuntimeError, AssertionError) as error:  # the second: fewer words than in a cluster of adaptive softmax
            if "size mismatch" not in str(error) and "cutoff larger than vocab" not in str(error):
                raise
            sys.exit(
                f"{checkpoint.origin} does not fit the vocabulary of {data}, {len(self.task.dictionary)} entries: "
                "that of training had another number; was the data prepared anew?"
            )
        if torch.cuda.is_available() and not cpu:
            self.model.cuda()

    def evaluate(self, split: str) -> dict[str, Any]:
        """Return the perplexity of a split, and what was counted; exit if that is not the whole text."""
        from fairseq.data import data_utils
        from fairseq_cli.eval_lm import eval_lm

        words = self.task.source_dictionary
        binarized = self.data / f"{split}.bin"
        if not binarized.is_file():
            sys.exit(f"{self.data} has no {split} text")
        if not binarized.stat().st_size:
            sys.exit(f"{self.data}: the {split} text holds no token")
        text = data_utils.load_indexed_dataset(f"{self.data}/{split}", words)
        total = int(text.sizes.sum())  # of a text that is still held: its sizes lie in its mapped file
        self.task.load_dataset(split)
        batches = self.task.eval_lm_dataloader(
            self.task.dataset(split),
            max_tokens=None,
            batch_size=max(1, BATCH_TOKENS // self.sample),
            max_positions=self.model.max_positions(),
            num_workers=0,
            context_window=self.window,
        )
        counted: Counter[str] = Counter()
        result = eval_lm(
            [self.model],
            words,
            self.counting(tqdm(batches, desc=split, leave=False, disable=None, delay=2), counted),
            target_dictionary=self.task.target_dictionary,
            softmax_batch=BATCH_TOKENS // 2,
            remove_bos_token=self.task.args.add_bos_token,
        )
        if counted["tokens"] != total:
            sys.exit(f"{split}: {counted['tokens']} of {total} tokens were counted; fairseq left out the rest")
        if not math.isfinite(result["loss"]):
            sys.exit(f"{split}: the loss is {result['loss']}; did the training diverge?")
        return {
            "perplexity": float(result["perplexity"]),
            "loss": float(result["loss"]),
            **counted,
            "tokens_per_sample": self.sample,
            "context_window": self.window,
        }

    def counting(self, batches: Any, counted: Counter[str]) -> Iterator[dict[str, Any]]:
        """Yield the batches, and count the targets that fairseq scores."""
        words = self.task.target_dictionary
        for batch in batches:
            for row, start in zip(batch["target"], batch.get("start_indices", [0] * len(batch["target"])), strict=True):
                scored = row[start:]
                scored = scored[scored != words.pad()][int(self.task.args.add_bos_token) :]
                counted["tokens"] += scored.numel()
                counted["lines"] += int((scored == words.eos()).sum())
                counted["unk"] += int((scored == words.unk()).sum())
            yield batch


def describe(split: str, result: dict[str, Any]) -> str:
    """Return the lines that say a result."""
    return (
        f"{split}: perplexity {result['perplexity']:.2f} ({result['loss']:.4f} bits a word)\n"
        f"  all {result['tokens']:,} tokens counted, none skipped; {result['lines']:,} are ends of lines, "
        f"{result['unk']:,} <unk>\n"
        f"  samples of {result['tokens_per_sample']} tokens, context window {result['context_window']}\n"
    )


def main() -> None:
    arguments_of = parser(__doc__)
    arguments_of.add_argument("--tokens-per-sample", type=cli.positive, metavar="N")
    arguments_of.add_argument("--context-window", type=cli.natural, metavar="N")
    args = arguments_of.parse_args()
    config = read_config(args.run)
    data, task = (setting(args.run, config, f"task.{key}", str) for key in ("data", "_name"))
    if data is None or "language_modeling" not in (task or ""):
        sys.exit(f"{args.run} is no run of a language model: its task is {task}")
    data = check_path(cli.ROOT / data)
    if not (data / "dict.txt").is_file():
        sys.exit(f"{data} holds no prepared data (no dict.txt)")
    check_dictionaries(args.run, data)
    cpu = bool(setting(args.run, config, "common.cpu", bool))

    asked = {"tokens": args.tokens_per_sample, "window": args.context_window}
    suffix = "".join(f"_{what}{number}" for what, number in asked.items() if number is not None)
    with chosen_checkpoint(args) as checkpoint:
        out = args.run.resolve() / "evaluation" / f"{checkpoint.name}{suffix}"
        with whole_folder(out) as part, failure_in_one_line(f"evaluating {checkpoint.origin} on {data}"):
            evaluator = Evaluator(checkpoint, data, args.tokens_per_sample, args.context_window, cpu)
            for split in ("valid", "test"):
                result = evaluator.evaluate(split) | checkpoint.facts
                (part / f"{split}.json").write_text(json.dumps(result, indent=2) + "\n")
                sys.stdout.write(describe(split, result))
    print(f"The numbers are in {out}")
