"""Run fairseq-preprocess quietly, with bars for the words it counts and the files it writes; takes its options."""

import argparse
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

from tqdm import tqdm

from recipes import children
from recipes.text.words import count_words

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
PADDED_TO = 8
# fairseq stores a token in two bytes where the dictionary has fewer entries, as with any usual BPE; then in four.
FOUR_BYTES_FROM = 65_500


def write_dictionary(texts: list[Path], target: Path, workers: int) -> None:
    """Write the dictionary that fairseq-preprocess makes of the texts: by frequency, padded to a multiple of 8.

    fairseq would do it too, without a word on how far it is.
    """
    words = count_words(texts, workers)
    entries = sorted(
        (word for word in words.items() if word[0] not in SPECIAL), key=lambda entry: (-entry[1], entry[0])
    )
    missing = -(len(SPECIAL) + len(entries)) % PADDED_TO
    made_up = (f"madeupword{number:04d}" for number in itertools.count())
    entries += ((word, 0) for word in itertools.islice((word for word in made_up if word not in words), missing))
    with target.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{word} {number}\n" for word, number in entries)


def count_tokens(texts: list[Path]) -> int:
    """Return how many tokens the binarized texts hold: their words, and one end of sentence a line."""
    tokens = 0
    for text in texts:
        with text.open("rb") as file:
            while block := file.read(1 << 20):
                tokens += block.count(b" ") + 2 * block.count(b"\n")
    return tokens


def tokens_written(folder: Path) -> int:
    """Return how many tokens fairseq has written so far."""
    dictionary = next(folder.glob("dict*.txt"), None)
    if dictionary is None:
        return 0
    with dictionary.open("rb") as words:
        token_bytes = 4 if sum(1 for _ in words) >= FOUR_BYTES_FROM else 2
    return sum(path.stat().st_size for path in list(folder.glob("*.bin")) if path.exists()) // token_bytes


def binarize(options: list[str], texts: list[Path], folder: Path, log: Path) -> None:
    """Run fairseq-preprocess with its output in `log`; exits with the last line of that where it fails."""
    command = [sys.executable, str(Path(__file__).parents[1] / "tool.py"), "preprocess", *options]
    # Its workers are processes: with as many threads each, they get in each other's way.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", children.VARIABLE: str(os.getpid())}
    total = count_tokens(texts)
    with log.open("wb") as out:
        # It holds the lock of the script too, which is a file that is open here.
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, close_fds=False)
    with tqdm(desc="binarize", total=total, unit=" tokens", unit_scale=True, leave=False, disable=None, delay=2) as bar:
        while process.poll() is None:
            time.sleep(0.2)
            bar.update(min(tokens_written(folder), total) - bar.n)
    if process.returncode:
        lines = log.read_text(errors="replace").splitlines() or [f"exit status {process.returncode}"]
        sys.exit(f"fairseq-preprocess: {lines[-1]} (see {log})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--log", type=Path, required=True)
    own, options = parser.parse_known_args()
    seen = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("--trainpref", "--validpref", "--destdir"):
        seen.add_argument(name, required=True)
    for name in ("--testpref", "--source-lang", "--target-lang"):  # the last two not for one side, --only-source
        seen.add_argument(name)
    seen.add_argument("--joined-dictionary", action="store_true")
    seen.add_argument("--workers", type=int, default=1)
    args, _ = seen.parse_known_args(options)
    folder = Path(args.destdir)
    folder.mkdir(parents=True, exist_ok=True)
    prefixes = ",".join(filter(None, (args.trainpref, args.validpref, args.testpref))).split(",")
    endings = [f".{lang}" for lang in (args.source_lang, args.target_lang) if lang] or [""]
    train = [Path(f"{args.trainpref}{ending}") for ending in endings]
    for option, ending, text in zip(("--srcdict", "--tgtdict"), endings, train, strict=False):
        dictionary = folder / f"dict{ending}.txt"
        write_dictionary(train if args.joined_dictionary else [text], dictionary, args.workers)
        options += option, str(dictionary)
        if args.joined_dictionary:
            break
    texts = [Path(f"{prefix}{ending}") for prefix in prefixes for ending in endings]
    binarize(options, texts, folder, own.log)


if __name__ == "__main__":
    main()
