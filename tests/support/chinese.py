"""Stand-ins for Chinese texts with classes: reviews, and headlines of TNEWS, in the form of the published files."""

import json
from pathlib import Path

REVIEWS = ("很好 ，喜欢！", "不好看。", "iPad 不错", "太差了")


def review(split: str, row: int) -> tuple[str, str]:
    """Return the text of a row, and its label."""
    return f"{REVIEWS[row % 4]}{split[0]}{row}", str((row + 1) % 2)


def write_sentiment(folder: Path) -> Path:
    """Write train.tsv, valid.tsv and test.tsv."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 12), ("valid", 4), ("test", 4)):
        rows = ("\t".join(review(split, row)) for row in range(count))
        (folder / f"{split}.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return folder


def write_tnews(folder: Path, labels: tuple[str, ...] = ("100", "116", "104")) -> Path:
    """Write train.json, dev.json and, as published without labels, test.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 12), ("dev", 4), ("test", 2)):
        rows = [{"sentence": f"新闻 {split[0]}{row}", "keywords": "新闻"} for row in range(count)]
        if split != "test":
            rows = [{"label": labels[row % 3], "label_desc": "news", **found} for row, found in enumerate(rows)]
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / f"{split}.json").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder
