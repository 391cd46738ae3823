"""Join parallel texts into one, with published mark-up removed, and split every Nth pair of train off to valid."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from recipes.cli import Parser, positive
from recipes.text.parallel import Sides, pairs


def join(name: str, texts: Iterator[tuple[str, str]], langs: list[str], out_dir: Path, every: int | None) -> None:
    """Write the pairs to NAME.LANG, but every Nth of train to valid.LANG, and print how many there are."""
    with Sides(out_dir, name, langs) as target:
        if name == "train" and every:
            with Sides(out_dir, "valid", langs) as valid:
                for number, pair in enumerate(texts, start=1):
                    (target if number % every else valid).write(pair)
            print(f"valid: {valid.count} pairs")
        else:
            for pair in texts:
                target.write(pair)
    print(f"{name}: {target.count} pairs")


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("texts", nargs="+", metavar="NAME=PREFIX[,PREFIX...]", help="PREFIX: the files without .LANG")
    parser.add_argument("--langs", nargs=2, required=True, metavar="LANG")
    parser.add_argument("--out-dir", type=Path, required=True)
    parser.add_argument("--every", type=positive, metavar="N", help="each Nth pair of train goes to valid")
    parser.add_argument("--notes", nargs="*", default=[], help="train is IWSLT's train.tags: lines with these go")
    parser.add_argument("--repair", action="store_true", help="go on where a line is not UTF-8")
    args = parser.parse_args()
    for text in args.texts:
        name, prefixes = text.split("=", 1)
        notes = args.notes if name == "train" else []
        texts = (pairs(Path(prefix), args.langs, notes=notes, repair=args.repair) for prefix in prefixes.split(","))
        join(name, chain.from_iterable(texts), args.langs, args.out_dir, args.every)


if __name__ == "__main__":
    main()
