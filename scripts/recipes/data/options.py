"""The options that the prepare scripts share."""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recipes.cli import ROOT, Parser, a_path, cores, positive

TOKENIZER = Path("scripts/tokenizer/tokenizer.perl")  # in a checkout of Moses


def out_path(text: str) -> Path:
    """Return the absolute path of an output folder that fairseq and hydra take for a path in training."""
    path = Path(os.path.abspath(a_path(text)))
    below = str(path).removeprefix(f"{ROOT}/")  # a config names what is in the repository by a relative path
    if any(sign in below for sign in (":", "${", " #")):
        raise argparse.ArgumentTypeError(
            f"training cannot take a path that holds a colon, ${{ or ' #', as '{text}' does"
        )
    return path


def folder(text: str) -> Path:
    """Return the path of a folder that exists."""
    path = a_path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder '{text}'")
    return path


def file_or_folder(text: str) -> Path:
    """Return the path of a file or a folder that exists and may be read."""
    path = a_path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no '{text}'")
    if not (path.is_file() or path.is_dir()):
        raise argparse.ArgumentTypeError(f"'{text}' is neither a file nor a folder")
    if not os.access(path, os.R_OK):
        raise argparse.ArgumentTypeError(f"'{text}' cannot be read")
    return path


def moses(text: str) -> Path:
    """Return the absolute path of a checkout of Moses, whose Perl scripts can run here."""
    path = a_path(text).absolute()
    if not (path / TOKENIZER).is_file():
        raise argparse.ArgumentTypeError(f"'{text}' is no checkout of Moses: it has no {TOKENIZER}")
    if not shutil.which("perl"):
        raise argparse.ArgumentTypeError("perl is not installed")
    return path


def tell_next(out: Path, name: str, training: str) -> None:
    """Print where prepared data is, and the arguments of train.sh for it, with task.data if it is not in data/NAME."""
    place = "" if out == ROOT / "data" / name else f" {shlex.quote(f'task.data={out}/bin')}"
    print(f"The data is in {out}/bin. Next: scripts/train.sh {training}{place}")


PERL = "Perl scripts of Moses"  # what the settings say of tokens that they made


class Options(Parser):
    """A parser of --out and --workers, and of those other shared options that a script names.

    Args:
        names: of --moses and --train-lines.
        source: the kind of --from: `folder` or `file_or_folder`; a script without it has no --from.
        pairs: the language pairs, one of which is the argument PAIR.
        bpe: the default of --bpe; a script without it has no --bpe.
        both_ways: whether the script has --both-ways.
    """

    PATHS = ("--from", "--out", "--moses")

    def __init__(
        self,
        *names: str,
        source: Callable[[str], Path] | None = None,
        pairs: str = "",
        bpe: int = 0,
        both_ways: bool = False,
    ) -> None:
        super().__init__()
        if both_ways:
            self.add_argument("--both-ways", action="store_true")
        if pairs:
            self.add_argument("pair", choices=pairs.split(), metavar=f"PAIR ({pairs})")
        if source:
            self.add_argument("--from", dest="source", type=source)
        self.add_argument("--out", type=out_path)
        self.add_argument("--workers", type=positive, default=cores())
        if bpe:
            self.add_argument("--bpe", type=positive, default=bpe)
        for name in names:
            self.add_argument(name, type={"--moses": moses, "--train-lines": positive}[name])

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse like argparse, which however takes a path with a leading dash for an option."""
        joined: list[str] = []
        for word in sys.argv[1:] if args is None else args:
            if joined and joined[-1] in self.PATHS and word.startswith("-") and not word.startswith("--"):
                joined[-1] += f"={word}"
            else:
                joined.append(str(word))
        return super().parse_known_args(joined, namespace)
