"""A BERT of random weights with a vocabulary of a few words, as Hugging Face keeps it, and rows that it can learn."""

import random
from pathlib import Path

import torch
from support.libraries import import_what_is_there

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a the cat dog bird sees sleeps here there . ##s".split()
SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.2,
}
LENGTH = 32  # positions
# What the animal of a row's second sentence says about its label.
LABELS = {
    "rte": {"cat": "entailment", "dog": "not_entailment"},
    "mrpc": {"cat": "1", "dog": "0"},
    "mnli": {"cat": "entailment", "dog": "neutral", "bird": "contradiction"},
    "cola": {"cat": "1", "dog": "0"},
    "stsb": {"cat": "5.000", "dog": "0", "bird": "2.5"},
}


def write_bert(folder: Path) -> Path:
    """Write the model without a head for classes, as published ones are, and its vocabulary."""
    import_what_is_there()
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    model = BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=LENGTH, **SIZE))
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    return folder


def write_raw(folder: Path, task: str, train: int = 40, dev: int = 12) -> Path:
    """Write rows of a task in the form of the folder raw that prepare_glue.sh writes."""
    folder.mkdir(parents=True)
    draw = random.Random(1)
    for split, count in (("train", train), ("valid", dev)):
        animals = [list(LABELS[task])[number % len(LABELS[task])] for number in range(count)]
        texts = {"label": [LABELS[task][animal] for animal in animals]}
        texts["input0"] = [f"The {animal} {draw.choice(['sees', 'sleeps'])} here." for animal in animals]
        if task != "cola":
            texts["input1"] = [f"A {animal} {draw.choice(['sees', 'sleeps'])} there." for animal in animals]
        for name, lines in texts.items():
            (folder / f"{split}.{name}").write_text("".join(f"{line}\n" for line in lines))
    return folder
