"""Run fairseq-preprocess quietly, with bars for the words that are counted and the files that it writes."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from recipes import children
from recipes.files import progress, write_lines
from recipes.text.line_pool import count_words

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
PADDED_TO = 8
# fairseq stores a token in two bytes if the dictionary has fewer entries, as with any usual BPE, or else in four.
FOUR_BYTES_FROM = 65_500
MADE = ".part"  # the output folder as fairseq sees it


def binarize(
    texts: Path,
    out_dir: Path,
    langs: Sequence[str] | None,
    splits: Sequence[str],
    *,
    joint: bool,
    workers: int,
    log: Path,
    known: Path | None = None,
) -> None:
    """Binarize the texts in a folder with fairseq-preprocess. Exit with the last line of its output if it fails.

    fairseq runs in a child process, which ends when this process does. The child inherits the descriptors that are
    inheritable, such as that of a lock. fairseq takes a comma for the end of a path, and writes the paths to
    out_dir/preprocess.log, which should not differ from run to run. So the child works in a temporary folder with links
    to both folders, and gets relative paths.

    Args:
        texts: the folder with the files SPLIT.LANG. Its name must hold no comma.
        langs: the source and the target language, or None for the files SPLIT of a language model.
        splits: the names of the training text, the validation text and any number of test sets.
        joint: both languages share a dictionary.
        log: the file for fairseq's output. It is removed if all goes well.
        known: a folder whose dictionaries are taken; without it they are made of the training text.
    """
    endings = [f".{lang}" for lang in langs] if langs else [""]
    train, valid, *tests = (f"{texts.name}/{split}" for split in splits)
    options = ["--trainpref", train, "--validpref", valid, "--destdir", MADE, "--workers", str(workers)]
    if tests:
        options += ["--testpref", ",".join(tests)]
    options += ["--source-lang", langs[0], "--target-lang", langs[1]] if langs else ["--only-source"]
    options += ["--joined-dictionary"] if joint else []
    trained_on = [texts / f"{splits[0]}{ending}" for ending in endings]
    sources = [trained_on] if joint else [[text] for text in trained_on]  # of each dictionary
    for option, ending, of_dictionary in zip(("--srcdict", "--tgtdict"), endings, sources, strict=False):
        dictionary = f"dict{ending}.txt"
        if known is None:
            write_dictionary(of_dictionary, out_dir / dictionary, workers)
        else:
            shutil.copyfile(known / dictionary, out_dir / dictionary)
        options += [option, f"{MADE}/{dictionary}"]
    total = count_tokens([texts / f"{split}{ending}" for split in splits for ending in endings])
    with tempfile.TemporaryDirectory(prefix=".", dir=out_dir) as folder:
        Path(folder, texts.name).symlink_to(texts.resolve())
        Path(folder, MADE).symlink_to(out_dir.resolve())
        _preprocess(options, Path(folder), total, log)
    log.unlink()


def _preprocess(options: list[str], folder: Path, total: int, log: Path) -> None:
    """Run fairseq-preprocess in a folder until it ends; `total` is the number of tokens that it will write."""
    with log.open("wb") as out:
        process = _start(options, folder, out)
    try:
        with progress("binarize", total, " tokens") as bar:
            while process.poll() is None:
                time.sleep(0.1)
                bar.update(min(tokens_written(folder / MADE), total) - bar.n)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        lines = log.read_text(errors="replace").splitlines() or [f"exit status {process.returncode}"]
        sys.exit(f"fairseq-preprocess: {lines[-1]} (see {log})")


def _start(options: list[str], folder: Path, out: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start fairseq-preprocess in a folder."""
    return subprocess.Popen(
        children.command("recipes.text.preprocess", *options),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # more threads would slow down fairseq's worker processes
        close_fds=False,
        process_group=0,  # ^C does not reach the child: this process ends it, with its workers
    )


def write_dictionary(texts: list[Path], target: Path, workers: int) -> None:
    """Write the dictionary that fairseq-preprocess makes of the texts: by frequency, padded to a multiple of 8.

    fairseq would do it too, but it would not show how far it is.
    """
    words = count_words(texts, workers)
    usual = (word for word in words.items() if word[0] not in SPECIAL)
    entries = sorted(usual, key=lambda entry: (-entry[1], entry[0]))
    missing = -(len(SPECIAL) + len(entries)) % PADDED_TO
    made_up = (f"madeupword{number:04d}" for number in itertools.count())
    entries += ((word, 0) for word in itertools.islice((word for word in made_up if word not in words), missing))
    write_lines(target, (f"{word} {number}" for word, number in entries))


def count_tokens(texts: list[Path]) -> int:
    """Return how many tokens the binarized texts will hold: their words, and one end of sentence a line.

    It is more where words are separated by several spaces, or where lines are empty: a bar then stops before its end.
    """
    tokens = 0
    for text in texts:
        with text.open("rb") as lines:
            tokens += sum(line.count(b" ") + 2 for line in lines)
    return tokens


def tokens_written(folder: Path) -> int:
    """Return how many tokens fairseq has written so far."""
    with next(folder.glob("dict*.txt")).open("rb") as words:
        token_bytes = 4 if sum(1 for _ in words) >= FOUR_BYTES_FROM else 2
    size = 0
    for path in folder.glob("*.bin"):
        with suppress(FileNotFoundError):  # it was the part of a worker
            size += path.stat().st_size
    return size // token_bytes
