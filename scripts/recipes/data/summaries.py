"""Texts and their summaries, NAME.source and NAME.target: CNN/DailyMail as fairseq's recipe makes it, or others."""

import shlex
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from recipes.cli import ROOT, need, positive
from recipes.data.encodings import Gpt2
from recipes.data.options import Options, folder, tell_next
from recipes.data.parallel_files import find_sources, prepare_files
from recipes.data.prepared import SENTENCEPIECE, Prepared
from recipes.data.summarization import LANGS, NAMES, Summaries
from recipes.text.line_pool import count_lines
from recipes.text.parallel import Sides, pairs, side

CNN_DM = {"train": 287_226, "valid": 13_368, "test": 11_490}  # articles, as the paper says


def look_for_known(raw: Path, drop: bool) -> None:
    """Print how many training texts also stand in valid or test, and leave these pairs out if that is asked for."""

    def digest(text: str) -> bytes:
        return sha256(text.strip().encode()).digest()

    known = {digest(text) for name in ("valid", "test") for text, _ in pairs(raw / name, LANGS)}
    found = left = 0
    kept = raw.parent / "kept"
    kept.mkdir()
    with Sides(kept, "train", LANGS) as target:
        for pair in pairs(raw / "train", LANGS):
            if digest(pair[0]) in known:
                found += 1
                continue
            left += 1
            if drop:
                target.write(pair)
    if not left:
        sys.exit("all training texts also stand in valid or test")
    if drop:
        for lang in LANGS:
            side(kept / "train", lang).replace(side(raw / "train", lang))
    if found:
        what = "their pairs are left out" if drop else "--drop-known leaves their pairs out"
        print(f"train: {found} texts also stand in valid or test; {what}")


def main(arguments: Sequence[str]) -> None:
    """Run the command prepare_cnn_dm.sh or prepare_summarization.sh."""
    options = Options("--train-lines", source=folder)
    options.add_argument("corpus", choices=("cnn_dm", "own"))
    options.add_argument("--bart", type=folder)
    options.add_argument("--bpe", type=positive)
    options.add_argument("--drop-empty", action="store_true")
    options.add_argument("--drop-known", action="store_true")
    args = options.parse_args(arguments)
    is_cnn_dm = args.corpus == "cnn_dm"
    if is_cnn_dm:
        args.out = args.out or ROOT / "data" / "cnn_dm"
    for name in ("source", "out"):
        if not getattr(args, name):
            sys.exit(f"--{name.replace('source', 'from')} is missing (see --help)")
    if bool(args.bart) == bool(args.bpe):
        sys.exit("give either --bart DIR, the folder with BART's BPE, or --bpe N, for a model from scratch")
    gpt2 = Gpt2(args.bart) if args.bart else None
    if not gpt2:
        need(["sentencepiece"])

    def source_of(name: str, lang: str) -> str:
        names = [f"{one}.{lang}{ending}" for one in NAMES[name] for ending in (".gz", "")]
        return next((str(args.source / file) for file in names if (args.source / file).is_file()), "")

    def finish(raw: Path) -> None:
        look_for_known(raw, args.drop_known)
        for name, number in CNN_DM.items() if is_cnn_dm and not args.train_lines else ():
            if (found := count_lines(raw / f"{name}.source")) != number:
                which = "articles and summaries with text" if args.drop_empty else "articles"
                print(f"{name}: {found:,} {which}; the paper has {number:,}")

    sources = find_sources(args.source, source_of, LANGS, NAMES)
    chosen = {"train-lines": args.train_lines or "all"}
    chosen |= gpt2.options if gpt2 else {"subwords": SENTENCEPIECE, "bpe": args.bpe}
    chosen |= {name: True for name in ("drop-empty", "drop-known") if getattr(args, name.replace("-", "_"))}
    settings = Prepared("prepare_cnn_dm.sh" if is_cnn_dm else "prepare_summarization.sh", chosen)
    steps = Summaries(args.out, LANGS, args.bpe or 0, args.workers, gpt2=gpt2)
    prepare_files(args, settings, sources, steps=steps, finish=finish, drop_empty=args.drop_empty, drop_bom=True)
    if is_cnn_dm and args.bart:
        start = shlex.quote(f"{args.bart}/model.pt")
        return tell_next(args.out, "cnn_dm", f"configs/cnn_dm_bart/rdrop.yaml --from {start}")
    print(f"The data is in {args.out}/bin: task.data of a config")
