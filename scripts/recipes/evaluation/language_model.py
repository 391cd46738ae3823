"""Compute the perplexity of a language model on validation and test text: the command scripts/evaluate_lm.sh."""

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
from recipes.evaluation.checkpoint_choice import Checkpoint, chosen_checkpoint, failure_in_one_line, parser
from recipes.files import whole_folder
from recipes.training.run_folder import RunFolder

SAMPLE, WINDOW = 512, 400  # tokens of a sample, and of its context, in the paper's evaluation
BATCH_TOKENS = 2048  # the logits of this many tokens are in memory at once


def choose_sample(asked: int | None, trained: int) -> int:
    """Return how many tokens a sample has. Exit if the user asks for more than the model was trained on.

    Args:
        asked: what the user asks for; None for the default.
        trained: the tokens of a sample in training.
    """
    if asked is None:
        return min(SAMPLE, trained)
    if asked > trained:
        sys.exit(f"--tokens-per-sample {asked}: must be at most the run's task.tokens_per_sample, {trained}")
    return asked


def choose_window(asked: int | None, sample: int) -> int:
    """Return how many tokens of a sample are only context. Exit if the user asks for the whole sample or more.

    Args:
        asked: what the user asks for; None for the default.
        sample: the tokens of a sample.
    """
    if asked is None:
        return WINDOW if sample > WINDOW else 3 * sample // 4
    if asked >= sample:
        sys.exit(f"--context-window {asked}: must be less than the tokens of a sample, {sample}")
    return asked


class Evaluator:
    """The model of a checkpoint with its task, ready to evaluate texts."""

    def __init__(self, checkpoint: Checkpoint, data: Path, sample: int | None, window: int | None, cpu: bool) -> None:
        """Load the model. Exit if the checkpoint is no language model, or does not fit the data.

        Args:
            data: the folder of the binarized text.
            sample, window: the tokens of a sample, and those that are only context; None for the default.
            cpu: whether to use no GPU.
        """
        from fairseq import checkpoint_utils, tasks

        state = checkpoint_utils.load_checkpoint_to_cpu(str(checkpoint.path))
        self.data = data
        config = state["cfg"]["task"]
        if not issubclass(tasks.TASK_REGISTRY.get(config._name, object), tasks.language_modeling.LanguageModelingTask):
            sys.exit(f"{checkpoint.origin} is no language model: its task is {config._name}")
        OmegaConf.set_struct(config, False)
        self.sample = choose_sample(sample, config.tokens_per_sample)
        self.window = choose_window(window, self.sample)
        # fairseq puts the context in front of each sample of the task.
        config.tokens_per_sample, config.data = self.sample - self.window, str(data)
        # The context is only right on running text. So the text is not cut at lines, even if training cut it there.
        config.sample_break_mode, config.shorten_method, config.pad_to_fixed_length = "none", "none", False
        self.task = tasks.setup_task(config)
        try:
            (self.model,), _, _ = checkpoint_utils.load_model_ensemble_and_task(
                [str(checkpoint.path)], task=self.task, state=state
            )
        except (RuntimeError, AssertionError) as error:
            # The second error means that there are fewer words than in a cluster of adaptive softmax.
            if "size mismatch" not in str(error) and "cutoff larger than vocab" not in str(error):
                raise
            sys.exit(
                f"{checkpoint.origin} does not fit the vocabulary of {data}, which has {len(self.task.dictionary)} "
                "entries: the vocabulary in training had another number; was the data prepared again?"
            )
        if torch.cuda.is_available() and not cpu:
            self.model.cuda()

    def evaluate(self, split: str) -> dict[str, Any]:
        """Return the perplexity of a text and what was counted. Exit if a word was left out.

        Args:
            split: "valid" or "test".
        """
        from fairseq.data import data_utils
        from fairseq_cli.eval_lm import eval_lm

        words = self.task.source_dictionary
        binarized = self.data / f"{split}.bin"
        if not binarized.is_file():
            sys.exit(f"{self.data} has no {split} text")
        if not binarized.stat().st_size:
            sys.exit(f"{self.data}: the {split} text holds no token")
        text = data_utils.load_indexed_dataset(f"{self.data}/{split}", words)
        total = int(text.sizes.sum())  # text must stay in use until here: its sizes are in a file that it keeps mapped
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
        """Yield the batches. Count the targets that fairseq scores: tokens, ends of lines, unknown words."""
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
    """Return the lines that tell a user the result of a text."""
    return (
        f"{split}: perplexity {result['perplexity']:.2f} ({result['loss']:.4f} bits a word)\n"
        f"  all {result['tokens']:,} tokens counted, none skipped; {result['lines']:,} are ends of lines, "
        f"{result['unk']:,} <unk>\n"
        f"  samples of {result['tokens_per_sample']} tokens, context window {result['context_window']}\n"
    )


def data_of(run: RunFolder) -> Path:
    """Return the folder of a run's binarized text. Exit if the run trains no language model, or without the text."""
    data = run.data
    if run.kind != "language_model":
        sys.exit(f"{run} is no run of a language model: its task is {run.task or 'not named'}")
    if not (data / "dict.txt").is_file():
        sys.exit(f"{data} holds no prepared data (no dict.txt)")
    run.check_dictionaries()
    return data


def main() -> None:
    """Run the command evaluate_lm.sh."""
    arguments = parser()
    arguments.add_argument("--tokens-per-sample", type=cli.positive, metavar="N")
    arguments.add_argument("--context-window", type=cli.natural, metavar="N")
    args = arguments.parse_args()
    data, cpu = data_of(args.run), bool(args.run.setting("common.cpu", bool))
    asked = {"tokens": args.tokens_per_sample, "window": args.context_window}
    suffix = "".join(f"_{what}{number}" for what, number in asked.items() if number is not None)
    with chosen_checkpoint(args) as checkpoint:
        out = RunFolder(args.run.absolute).evaluation(f"{checkpoint.name}{suffix}")
        with whole_folder(out) as part, failure_in_one_line(f"evaluating {checkpoint.origin} on {data}"):
            evaluator = Evaluator(checkpoint, data, args.tokens_per_sample, args.context_window, cpu)
            for split in ("valid", "test"):
                result = evaluator.evaluate(split) | checkpoint.facts
                (part / f"{split}.json").write_text(json.dumps(result, indent=2) + "\n")
                sys.stdout.write(describe(split, result))
    print(f"The numbers are in {out}")
