"""R-Drop on a pretrained BERT and a task of GLUE, in Hugging Face's Trainer, at the settings of the paper's table 8.

    python examples/trainer_glue.py RTE --model bert-base-uncased

It trains without R-Drop (alpha 0) and with it, with each seed, and ends with a table of the scores on the dev set.
Started again, it goes on with the trainings that are not done. docs/sentence_prediction.md says where the data comes
from.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from statistics import mean, stdev

import torch
from glue_options import read_options
from glue_setup import Row, collator, load_model, load_rows, scorer
from trainer_classification import RDropTrainer
from transformers import TrainingArguments, set_seed

SAME = "model", "data", "length", "updates", "warmup", "batch", "lr"  # settings of which a result is
LOGGED = "eval_score", "kl_loss"
NAMES = {"accuracy": "accuracy", "mcc": "Matthews' correlation", "pearson": "Pearson's correlation"}
Results = dict[float, dict[int, dict[str, float]]]  # the scores, by alpha and seed


def train(alpha: float, seed: int, data: tuple[list[Row], list[Row]], args: argparse.Namespace) -> dict[str, float]:
    """Train with R-Drop, or without it if alpha is 0, and return the best and the last score of all evaluations."""
    file = args.out / f"alpha{alpha:g}_seed{seed}.json"
    settings = {name: str(getattr(args, name)) for name in SAME}
    if file.exists():
        saved = json.loads(file.read_text(encoding="utf-8"))
        if other := [name for name in SAME if saved["settings"][name] != settings[name]]:
            sys.exit(f"{file} was made with --{other[0]} {saved['settings'][other[0]]}: give that, or another --out")
        return saved["scores"]
    set_seed(seed)  # the new head is random
    tokenizer, model = load_model(args)
    arguments = TrainingArguments(
        output_dir=str(args.out),
        seed=seed,
        max_steps=args.updates,
        warmup_steps=args.warmup,  # then the learning rate falls linearly to 0
        learning_rate=args.lr,
        per_device_train_batch_size=args.batch,
        **args.optimizer,
        fp16=torch.cuda.is_available(),
        remove_unused_columns=False,
        eval_strategy="epoch",
        logging_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    loss = "mse" if args.classes == 1 else "cross_entropy"
    sets = {"train_dataset": data[0], "eval_dataset": data[1], "data_collator": collator(tokenizer, args.length)}
    trainer = RDropTrainer(model, arguments, **sets, compute_metrics=scorer(args.score), alpha=alpha, loss=loss)
    trainer.train()
    found, kl_loss = ([one[name] for one in trainer.state.log_history if name in one] for name in LOGGED)
    scores = {"best": max(found), "last": found[-1], "kl_loss": [0.0, *kl_loss][-1]}
    part = file.with_suffix(".part")
    part.write_text(json.dumps({"settings": settings, "scores": scores}), encoding="utf-8")
    os.replace(part, file)
    return scores


def print_table(results: Results, args: argparse.Namespace) -> None:
    """Print the mean and the standard deviation over the seeds, for each alpha."""

    def over_seeds(alpha: float, name: str) -> str:
        values = [scores[name] for scores in results[alpha].values()]
        return f"{mean(values):6.2f}  {f'{stdev(values):.2f}' if len(values) > 1 else '-':>5}"

    print(f"\n{args.task}, dev set, {NAMES[args.score]} in percent, over the seeds {' '.join(map(str, args.seeds))}:")
    print("alpha    best    std    last    std  KL in training")
    for alpha, of in results.items():
        kl_loss = mean(scores["kl_loss"] for scores in of.values())
        print(f"{alpha:5g}  {over_seeds(alpha, 'best')}  {over_seeds(alpha, 'last')}  {kl_loss:14.4f}")


def draw(results: Results, args: argparse.Namespace) -> None:
    """Draw the scores over the seeds, as in the paper's figure 5, if matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axis, name in zip(figure.subplots(1, 2, sharey=True), ("best", "last"), strict=True):
        for alpha, of in results.items():
            axis.plot([*map(str, of)], [scores[name] for scores in of.values()], "o-", label=f"alpha {alpha:g}")
        axis.set(xlabel="seed", title=f"{args.task}, {name} on the dev set", ylabel=NAMES[args.score])
        axis.legend()
    figure.savefig(args.out / "seeds.png", dpi=120)
    print(f"The figure of the scores over the seeds is {args.out / 'seeds.png'}.")


def main(words: Sequence[str] | None = None) -> None:
    """Train with each alpha, and print a table."""
    args = read_options(words, __doc__)
    data = load_rows(args)
    args.out.mkdir(parents=True, exist_ok=True)
    results: Results = {alpha: {} for alpha in args.alpha}
    for seed in args.seeds:
        for alpha in args.alpha:
            try:
                results[alpha][seed] = scores = train(alpha, seed, data, args)
            except torch.OutOfMemoryError:
                sys.exit(f"the GPU's memory does not hold --batch {args.batch} twice: choose a smaller one")
            print(f"alpha {alpha:g}, seed {seed}: best {scores['best']:.2f}, last {scores['last']:.2f}", flush=True)
    print_table(results, args)
    draw(results, args)


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # on several GPUs the Trainer would take a batch for each
    main()
