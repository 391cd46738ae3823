"""WikiText-2 and WikiText-103: articles of Wikipedia as words, for language models."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from recipes.cli import ROOT
from recipes.data.fetch import fetch
from recipes.data.options import Options, file_or_folder
from recipes.data.pipeline import Step, prepare
from recipes.data.prepared import Prepared
from recipes.data.wikitext_files import SPLITS, TOKENS, copy, digest
from recipes.text.binarize import binarize

SITE = "https://wikitext.smerity.com"
CHECKSUMS = {
    "wikitext-103-v1.zip": "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590",
    "wikitext-2-v1.zip": "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = Options("--train-lines", source=file_or_folder)
    options.add_argument("corpus", choices=list(TOKENS))
    args = options.parse_args(arguments)
    corpus, name, archive = args.corpus, args.corpus.replace("-", ""), f"{args.corpus}-v1.zip"
    source, out = args.source, args.out or ROOT / "data" / name
    if source and (source / archive).is_file():
        source /= archive
    if source and source.name != archive and re.fullmatch(r"wikitext-[0-9]+-v1\.zip", source.name):
        sys.exit(f"--from: {source.name} is not {archive}")
    chosen = {"corpus": corpus, "train-lines": args.train_lines or "all"}
    settings = Prepared(f"prepare_{name}.sh", chosen)

    def digests() -> dict[str, str]:
        # Before `raw` is made there is nothing to compare with, and then it tells the checksum that it comes to.
        return {"texts": digest(source, corpus, args.train_lines)} if (out / "raw").is_dir() else {}

    def make_raw(part: Path) -> None:
        texts = source
        if not source or source.name == archive:
            texts = part / archive
            fetch(str(source or f"{SITE}/{archive}"), texts, CHECKSUMS[archive])
        else:
            print(f"raw: a checksum is published for {archive} alone: of {source} only the form is checked")
        settings.sources = {"texts": copy(texts, corpus, args.train_lines, part / "raw")}

    def make_bin(part: Path) -> None:
        texts = [f"{split}.txt" for split in SPLITS]
        log = out / "preprocess.log"
        binarize(out / "raw", part / "bin", None, texts, joint=False, workers=args.workers, log=log)

    steps = [Step("raw", make_raw), Step("bin", make_bin)]
    prepare(out, settings, steps, digests, source_is_given=bool(source))
    print(f"The data is in {out}/bin. Next: scripts/train.sh configs/{name}_gpt/rdrop.yaml or {name}_adaptive")
