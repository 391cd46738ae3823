"""R-Drop in Hugging Face's Trainer, for a causal language model, with the fused loss on its `lm_head`.

    python examples/trainer_language_model.py

The logits of the doubled batch, mostly the largest tensor of a language model, never exist in whole.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions

from rdrop_fairseq import RDrop, linear_rdrop_loss

WORDS, LENGTH = 200, 24


class RDropForCausalLM(GPT2LMHeadModel):
    """GPT-2 whose loss in training is R-Drop's, so any Trainer trains it, on several processes too.

    The name ends in ForCausalLM because by that the Trainer knows that the first label of a sequence is no target.
    """

    alpha = 0.0
    kl_loss = torch.tensor(0.0)  # of the last batch in training, in nats for each token

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the model's output; in training with alpha and labels it has R-Drop's loss and no logits."""
        if not (self.training and self.alpha and labels is not None):
            kwargs["num_items_in_batch"] = num_items_in_batch
            return super().forward(input_ids, attention_mask=attention_mask, labels=labels, **kwargs)
        # One forward of [x; x]. The labels, -100 where there is nothing to predict, are those of one pass.
        hidden = RDrop(self.transformer)(input_ids, attention_mask=attention_mask, **kwargs).last_hidden_state
        target = labels[:, 1:]
        sums = linear_rdrop_loss(hidden[:, :-1], self.lm_head.weight, target, self.alpha, reduction="sum")
        tokens = target.ne(-100).sum()
        self.kl_loss = sums.kl_loss / tokens
        # The Trainer gives the number of tokens in all batches of an update, over which the gradient is a mean.
        return CausalLMOutputWithCrossAttentions(
            loss=sums.loss / (tokens if num_items_in_batch is None else num_items_in_batch)
        )


class LoggingTrainer(Trainer):
    """A Trainer that logs the KL divergence between the passes."""

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add to the logs the KL divergence of the last batch."""
        if "loss" in logs:
            logs["kl_loss"] = self.accelerator.unwrap_model(self.model).kl_loss.item()
        super().log(logs, *args, **kwargs)


def texts(size: int, seed: int) -> list[dict[str, Tensor]]:
    """Return texts in which a word mostly follows from the one before; they differ in length, and 0 is the padding."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(1, WORDS, (size, LENGTH), generator=generator)
    for i in range(1, LENGTH):
        follows = torch.rand(size, generator=generator) < 0.8
        words[:, i] = torch.where(follows, words[:, i - 1] * 7 % (WORDS - 1) + 1, words[:, i])
    lengths = torch.randint(LENGTH // 2, LENGTH + 1, (size, 1), generator=generator)
    mask = (torch.arange(LENGTH) < lengths).long()
    labels = words.masked_fill(mask.eq(0), -100)
    return [
        {"input_ids": ids, "attention_mask": seen, "labels": label}
        for ids, seen, label in zip(words * mask, mask, labels, strict=True)
    ]


def build_model() -> RDropForCausalLM:
    """Return a small GPT-2; its configuration has dropout of 0.1 by default."""
    size = {"vocab_size": WORDS, "n_positions": LENGTH, "n_embd": 64, "n_layer": 2, "n_head": 4}
    return RDropForCausalLM(GPT2Config(**size, bos_token_id=0, eos_token_id=0))


def train(alpha: float, epochs: int = 8, batch: int = 16, accumulate: int = 2) -> tuple[LoggingTrainer, float]:
    """Train with R-Drop, or without it if alpha is 0; return the Trainer and the loss of the test texts."""
    set_seed(1)
    model = build_model()
    model.alpha = alpha
    arguments = TrainingArguments(
        output_dir="runs/trainer_language_model",
        num_train_epochs=epochs,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=128,
        gradient_accumulation_steps=accumulate,
        learning_rate=3e-3,
        logging_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = LoggingTrainer(model, arguments, train_dataset=texts(256, seed=1), eval_dataset=texts(256, seed=2))
    trainer.train()
    return trainer, trainer.evaluate()["eval_loss"]


def main() -> None:
    """Train with each alpha, and print a table."""
    results = {alpha: train(alpha) for alpha in (0.0, 1.0)}
    print("\nalpha  test loss  test perplexity  KL in training")
    for alpha, (trainer, loss) in results.items():
        perplexity = torch.tensor(loss).exp()
        print(f"{alpha:5g}  {loss:9.3f}  {perplexity:15.2f}  {trainer.model.kl_loss:14.4f}")


if __name__ == "__main__":
    main()
