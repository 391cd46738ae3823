"""Stand-ins for sources of summaries: texts as .source and .target, CLUE's files of titles, and BART's BPE."""

import json
from pathlib import Path

from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

MERGES = ["h e", "Ġ t", "Ġt he"]  # Ġ stands for a space
ENTRIES = [*bytes_to_unicode().values(), "he", "Ġt", "Ġthe"]  # an entry's place is its number


def write_bart(folder: Path) -> Path:
    """Write encoder.json, vocab.bpe and dict.txt of a small BPE; the dictionary is by frequency, as the published."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "encoder.json").write_text(json.dumps({entry: number for number, entry in enumerate(ENTRIES)}))
    (folder / "vocab.bpe").write_text("".join(f"{line}\n" for line in ["#version: 0.2", *MERGES]))
    order = [258, *range(258)]
    (folder / "dict.txt").write_text("".join(f"{number} {1000 - place}\n" for place, number in enumerate(order)))
    return folder


def write_summaries(folder: Path, valid: str = "dev", train: int = 30) -> Path:
    """Write train, valid under a name and test: texts and their summaries, of few different characters."""
    folder.mkdir(parents=True)
    for name, count in (("train", train), (valid, 4), ("test", 3)):
        rows = [f"the {name} has {number} and the end. he sees it." for number in range(count)]
        (folder / f"{name}.source").write_text("".join(f"{row}\n" for row in rows))
        (folder / f"{name}.target").write_text("".join(f"{row[:-12]}\n" for row in rows))
    return folder


ABSTRACTS = {
    "train": [("针对 Deep  Learning 的方法", "深度 BERT 学习"), ("提出了一种算法", "算法"), ("结果表明", "结果")],
    "dev": [("验证集", "验证")],
    "test": [("测试集", "测试"), ("再测试", "再测")],
}


def write_csl(folder: Path, abstracts: dict[str, list[tuple[str, str]]] = ABSTRACTS) -> Path:
    """Write csl_title_train.json, csl_title_dev.json and csl_title_test.json, of lines with "title" and "abst"."""
    folder.mkdir(parents=True)
    for name, rows in abstracts.items():
        lines = [
            json.dumps({"id": number, "title": title, "abst": text}, ensure_ascii=False)
            for number, (text, title) in enumerate(rows)
        ]
        (folder / f"csl_title_{name}.json").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder
