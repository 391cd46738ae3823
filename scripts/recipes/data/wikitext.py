"""WikiText-2 and WikiText-103: articles of Wikipedia as words, for language models.

They are in the published archive or in a folder, as wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens or as
train.txt, valid.txt and test.txt, there or in a folder with the name of the corpus.
"""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from recipes.cli import ROOT
from recipes.data.archives import open_text
from recipes.data.fetch import fetch
from recipes.data.options import Options, file_or_folder, tell_next
from recipes.data.pipeline import Step, prepare
from recipes.data.prepared import Prepared
from recipes.files import progress
from recipes.text.binarize import binarize
from recipes.text.parallel import BOM, text_of

SITE = "https://wikitext.smerity.com"
CHECKSUMS = {
    "wikitext-103-v1.zip": "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590",
    "wikitext-2-v1.zip": "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
}
TOKENS = {  # as published, one end of sentence a line counted
    "wikitext-2": {"train": 2_088_628, "valid": 217_646, "test": 245_569},
    "wikitext-103": {"train": 103_227_021, "valid": 217_646, "test": 245_569},
}


def lines_of(source: Path, corpus: str, split: str, limit: int | None) -> Iterator[bytes]:
    """Yield the lines of a split, each with one \\n: all, or the first `limit` of the training text.

    A byte order mark is left out; \\r in a line, where fairseq would end it, becomes a space. Exit if there are fewer.
    """
    limit = limit if split == "train" else None
    count, hint = 0, f"is it the archive of the words, {corpus}-v1.zip?"
    text_of_split = open_text(source, (f"wiki.{split}.tokens", f"{split}.txt"), corpus, hint)
    with text_of_split as (text, size), progress(split, size) as bar:
        for count, line in enumerate(islice(text, limit), start=1):
            bar.update(len(line))
            line = line if count > 1 else line.removeprefix(BOM.encode())
            yield line.rstrip(b"\r\n").replace(b"\r", b" ") + b"\n"
    if limit and count < limit:
        sys.exit(f"{source}: {split} has {count:,} lines, fewer than the {limit:,} asked for")


def copy(source: Path, corpus: str, limit: int | None, out_dir: Path) -> None:
    """Write train.txt, valid.txt and test.txt, and print how many tokens each has, as fairseq counts them.

    Exit if a text is not UTF-8 or holds no word.
    """
    for split, published in TOKENS[corpus].items():
        target = out_dir / f"{split}.txt"
        lines = words = 0
        with target.open("wb") as out:
            for lines, line in enumerate(lines_of(source, corpus, split, limit), start=1):
                words += len(text_of(line, lines, target).split())
                out.write(line)
        if not words:
            sys.exit(f"{source}: {split} holds no token")
        remark = "" if words + lines == published else f"; the published text has {published:,}"
        print(f"{split}: {lines:,} lines, {words + lines:,} tokens (one end of sentence a line counted){remark}")


def digest(source: Path, corpus: str, limit: int | None) -> str:
    """Return the SHA-256 of the three texts as `copy` writes them, one after the other."""
    found = hashlib.sha256()
    for split in TOKENS[corpus]:
        for line in lines_of(source, corpus, split, limit):
            found.update(line)
    return found.hexdigest()


def main(arguments: Sequence[str]) -> None:
    """Run the command prepare_wikitext2.sh or prepare_wikitext103.sh."""
    options = Options("--train-lines", source=file_or_folder)
    options.add_argument("corpus", choices=list(TOKENS))
    args = options.parse_args(arguments)
    corpus, name, archive = args.corpus, args.corpus.replace("-", ""), f"{args.corpus}-v1.zip"
    source, out = args.source, args.out or ROOT / "data" / name
    if source and (source / archive).is_file():
        source /= archive
    if source and source.name in CHECKSUMS.keys() - {archive}:
        sys.exit(f"--from: {source.name} is not {archive}")
    settings = Prepared(f"prepare_{name}.sh", {"corpus": corpus, "train-lines": args.train_lines or "all"})

    def digests() -> dict[str, str]:  # before `raw` is made there is nothing to compare with, and make_raw tells it
        return {"texts": digest(source, corpus, args.train_lines)} if (out / "raw").is_dir() else {}

    def make_raw(part: Path) -> None:
        texts = source
        if not source or source.name == archive:
            texts = part / archive
            fetch(str(source or f"{SITE}/{archive}"), texts, CHECKSUMS[archive])
        else:
            print(f"raw: a checksum is published for {archive} alone: of {source} only the form is checked")
        copy(texts, corpus, args.train_lines, part / "raw")
        settings.sources = {"texts": digest(texts, corpus, args.train_lines)}

    def make_bin(part: Path) -> None:
        texts, log = [f"{split}.txt" for split in TOKENS[corpus]], out / "preprocess.log"
        binarize(out / "raw", part / "bin", None, texts, joint=False, workers=args.workers, log=log)

    prepare(out, settings, [Step("raw", make_raw), Step("bin", make_bin)], digests, source_is_given=bool(source))
    tell_next(out, name, f"configs/{name}_gpt/rdrop.yaml")
    print(f"or the same with configs/{name}_adaptive/rdrop.yaml")
