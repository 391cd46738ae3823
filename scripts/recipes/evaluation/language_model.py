"""Compute the perplexity of a language model on validation and test text: the command scripts/evaluate_lm.sh."""

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from tqdm import tqdm

from recipes import cli
from recipes.evaluation.checkpoint_choice import Checkpoint, ModelParser, chosen_checkpoint
from recipes.evaluation.safe_checkpoint import failure_in_one_line
from recipes.files import whole_folder

SAMPLE, WINDOW = 512, 400  # tokens of a sample, and of its context, in the paper's evaluation
BATCH_TOKENS = 2048  # the logits of this many tokens are in memory at once


def choose_samples(sample: int | None, window: int | None, trained: int) -> tuple[int, int]:
    """Return how many tokens a sample has, and how many of them are only context. Exit if the user asks for too many.

    Args:
        sample, window: what the user asks for; None for the default.
        trained: the tokens of a sample in training.
    """
    sample = sample or min(SAMPLE, trained)
    if sample > trained:
        sys.exit(f"--tokens-per-sample {sample}: must be at most the run's task.tokens_per_sample, {trained}")
    if window is None:
        window = WINDOW if sample > WINDOW else 3 * sample // 4
    if window >= sample:
        sys.exit(f"--context-window {window}: must be less than the tokens of a sample, {sample}")
    return sample, window


def load(checkpoint: Checkpoint, data: Path, sample: int | None, window: int | None) -> tuple[Any, Any, int, int]:
    """Return the model of a checkpoint, its task and its samples. Exit if it does not fit the data."""
    from fairseq import checkpoint_utils, tasks

    state = checkpoint_utils.load_checkpoint_to_cpu(str(checkpoint.path))
    config = state["cfg"]["task"]
    if not issubclass(tasks.TASK_REGISTRY.get(config._name, object), tasks.language_modeling.LanguageModelingTask):
        sys.exit(f"{checkpoint.origin} is no language model: its task is {config._name}")
    OmegaConf.set_struct(config, False)
    sample, window = choose_samples(sample, window, config.tokens_per_sample)
    # fairseq puts the context in front of each sample of the task.
    config.tokens_per_sample, config.data = sample - window, str(data)
    # The context is only right on running text. So the text is not cut at lines, even if training cut it there.
    config.sample_break_mode, config.shorten_method, config.pad_to_fixed_length = "none", "none", False
    task = tasks.setup_task(config)
    try:
        (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([str(checkpoint.path)], task=task, state=state)
    except (RuntimeError, AssertionError) as error:
        # The second error means that there are fewer words than in a cluster of adaptive softmax.
        if "size mismatch" not in str(error) and "cutoff larger than vocab" not in str(error):
            raise
        sys.exit(
            f"{checkpoint.origin} does not fit the vocabulary of {data}, which has {len(task.dictionary)} "
            "entries: the vocabulary in training had another number; was the data prepared again?"
        )
    return model, task, sample, window


def evaluate(model: Any, task: Any, sample: int, window: int, split: str) -> dict[str, Any]:
    """Return and print the perplexity of the text "valid" or "test", with counts. Exit if a word was left out."""
    from fairseq.data import data_utils
    from fairseq_cli.eval_lm import eval_lm

    data, words, bos = task.args.data, task.target_dictionary, task.args.add_bos_token
    binarized = Path(data, f"{split}.bin")
    if not (binarized.is_file() and binarized.stat().st_size):
        sys.exit(f"{data} has no {split} text, or an empty one")
    text = data_utils.load_indexed_dataset(f"{data}/{split}", words)
    total = int(text.sizes.sum())  # text must stay in use until here: its sizes are in a file that it keeps mapped
    task.load_dataset(split)
    batches = task.eval_lm_dataloader(
        task.dataset(split),
        max_tokens=None,
        batch_size=max(1, BATCH_TOKENS // sample),
        max_positions=model.max_positions(),
        num_workers=0,
        context_window=window,
    )
    counted: Counter[str] = Counter()

    def counting() -> Iterator[dict[str, Any]]:
        """Yield the batches. Count the targets that fairseq scores."""
        for batch in tqdm(batches, desc=split, leave=False, disable=None, delay=2):
            for row, start in zip(batch["target"], batch.get("start_indices", [0] * len(batch["target"])), strict=True):
                scored = row[start:]
                scored = scored[scored != words.pad()][int(bos) :]
                counted["tokens"] += len(scored)
                counted["lines"] += int((scored == words.eos()).sum())
                counted["unk"] += int((scored == words.unk()).sum())
            yield batch

    result = eval_lm([model], words, counting(), softmax_batch=BATCH_TOKENS // 2, remove_bos_token=bos)
    if counted["tokens"] != total:
        sys.exit(f"{split}: {counted['tokens']} of {total} tokens were counted; fairseq left out the rest")
    if not math.isfinite(result["loss"]):
        sys.exit(f"{split}: the loss is {result['loss']}; did the training diverge?")
    numbers = {key: float(result[key]) for key in ("perplexity", "loss")}
    print(
        f"{split}: perplexity {numbers['perplexity']:.2f} ({numbers['loss']:.4f} bits a word)\n"
        f"  all {total:,} tokens counted, none skipped; "
        f"{counted['lines']:,} are ends of lines, {counted['unk']:,} <unk>\n"
        f"  samples of {sample} tokens, context window {window}"
    )
    return {**numbers, **counted, "tokens_per_sample": sample, "context_window": window}


def main(arguments: Sequence[str]) -> None:
    """Run the command evaluate_lm.sh."""
    parser = ModelParser(out=True)
    parser.add_argument("--tokens-per-sample", type=cli.positive, metavar="N")
    parser.add_argument("--context-window", type=cli.natural, metavar="N")
    args = parser.parse_args(arguments)
    run, asked = args.run, {"tokens": args.tokens_per_sample, "window": args.context_window}
    data, cpu = run.data, run.setting("common.cpu", bool)
    if run.kind != "language_model":
        sys.exit(f"{run} is no run of a language model: its task is {run.task or 'not named'}")
    if not (data / "dict.txt").is_file():
        sys.exit(f"{data} holds no prepared data (no dict.txt)")
    run.check_dictionaries(run.data)
    with chosen_checkpoint(args) as checkpoint:
        suffix = "".join(f"_{what}{number}" for what, number in asked.items() if number is not None)
        out = args.results.evaluation(f"{checkpoint.name}{suffix}")
        with whole_folder(out) as part, failure_in_one_line(f"evaluating {checkpoint.origin} on {data}"):
            model, task, sample, window = load(checkpoint, data, args.tokens_per_sample, args.context_window)
            if torch.cuda.is_available() and not cpu:
                model.cuda()
            for split in ("valid", "test"):
                result = evaluate(model, task, sample, window, split) | checkpoint.facts
                (part / f"{split}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"The numbers are in {out}")
