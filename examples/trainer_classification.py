"""R-Drop in Hugging Face's Trainer, for classification: a small BERT, with random weights, on generated sequences.

    python examples/trainer_classification.py

`RDropTrainer` is all that is to be copied.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

from rdrop_fairseq import RDrop, rdrop_loss

WORDS, LENGTH, CLASSES = 64, 16, 4


class RDropTrainer(Trainer):
    """A Trainer whose training loss is R-Drop's. With alpha 0, and in evaluation, the loss is the model's own.

    Args:
        loss: "mse" for a model with one output, a number; the divergence is then the squared difference of the passes.
    """

    loss_is_scaled_for_ga = False  # The loss is the mean of one batch: the Trainer divides it by the accumulated ones.

    def __init__(self, *args: Any, alpha: float, loss: str = "cross_entropy", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.alpha, self.loss = alpha, loss
        self.divergences: list[Tensor] = []

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return R-Drop's loss; in evaluation, and with alpha 0, the model's own."""
        if not (model.training and self.alpha):
            return super().compute_loss(model, inputs, return_outputs)
        # `model` may be wrapped, such as in DistributedDataParallel: this is one forward of [x; x] through the wrapper.
        outputs = RDrop(model)(**{name: value for name, value in inputs.items() if name != "labels"})
        logits = outputs.logits.squeeze(-1) if self.loss == "mse" else outputs.logits
        loss = rdrop_loss(logits, inputs["labels"], self.alpha, loss=self.loss)
        self.divergences.append(rdrop_loss(logits.detach(), None, 1.0, loss=self.loss))
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add to the logs the KL divergence between the passes since the last time."""
        if self.divergences and "loss" in logs:
            logs["kl_loss"] = torch.stack(self.divergences).mean().item()
            self.divergences.clear()
        super().log(logs, *args, **kwargs)


def sequences(size: int, seed: int) -> list[dict[str, Tensor]]:
    """Return sequences of random words; the class says of which quarter of the words a sequence has too many."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (size,), generator=generator)
    words = torch.randint(WORDS, (size, LENGTH), generator=generator)
    of_class = labels.unsqueeze(1) * (WORDS // CLASSES) + words % (WORDS // CLASSES)
    words = torch.where(torch.rand(size, LENGTH, generator=generator) < 0.4, of_class, words)
    mask = torch.ones_like(words)
    return [
        {"input_ids": ids, "attention_mask": seen, "labels": label}
        for ids, seen, label in zip(words, mask, labels, strict=True)
    ]


def build_model() -> nn.Module:
    """Return a small BERT; its configuration has dropout of 0.1 by default."""
    size = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    config = BertConfig(vocab_size=WORDS, max_position_embeddings=LENGTH, num_labels=CLASSES, **size)
    return BertForSequenceClassification(config)


def accuracy_of(prediction: Any) -> dict[str, float]:
    """Return the accuracy of the logits and labels that the Trainer collected."""
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def train(alpha: float, epochs: int = 8, batch: int = 16, accumulate: int = 2) -> tuple[RDropTrainer, dict[str, float]]:
    """Train with R-Drop, or without it if alpha is 0; return the Trainer and its evaluation."""
    set_seed(1)
    arguments = TrainingArguments(
        output_dir="runs/trainer_classification",
        num_train_epochs=epochs,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=128,
        gradient_accumulation_steps=accumulate,
        learning_rate=1e-3,
        logging_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    data: dict[str, Any] = {"train_dataset": sequences(256, seed=1), "eval_dataset": sequences(512, seed=2)}
    trainer = RDropTrainer(build_model(), arguments, **data, compute_metrics=accuracy_of, alpha=alpha)
    trainer.train()
    return trainer, trainer.evaluate()


def main() -> None:
    """Train with each alpha, and print a table."""
    results = {alpha: train(alpha) for alpha in (0.0, 1.0)}
    print("\nalpha  test loss  test accuracy  KL in training")
    for alpha, (trainer, result) in results.items():
        kl_loss = [entry["kl_loss"] for entry in trainer.state.log_history if "kl_loss" in entry][-1:] or [0.0]
        print(f"{alpha:5g}  {result['eval_loss']:9.3f}  {result['eval_accuracy']:13.3f}  {kl_loss[0]:14.4f}")


if __name__ == "__main__":
    main()
