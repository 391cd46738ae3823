"""fairseq-preprocess with its options: it ends if a worker is killed, and compares what it wrote with the texts."""

import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fairseq_cli.preprocess as fairseq_preprocess
from fairseq import binarizer, options
from fairseq.data.indexed_dataset import MMapIndexedDataset, data_file_path

from recipes.text.line_pool import count_lines, start_workers


class Pool:
    """What fairseq uses of multiprocessing's pool, which would wait for ever for a worker that was killed."""

    def __init__(self, processes: int) -> None:
        self._pool = start_workers(ExitStack(), processes)  # `join` ends it; ^C ends this whole process

    def apply_async(self, function: Callable[..., Any], args: tuple[Any, ...], kwds: dict[str, Any]) -> SimpleNamespace:
        """Call a function in a worker. `get` of the result waits for it, and raises if the worker was killed."""
        return SimpleNamespace(get=self._pool.submit(function, *args, **kwds).result)

    def close(self) -> None:
        """Do nothing: `join` closes it."""

    def join(self) -> None:
        """Wait until all workers have ended."""
        self._pool.shutdown()


def check(text: Path, prefix: str) -> None:
    """Exit with one line unless fairseq's PREFIX.idx and PREFIX.bin are whole and have a sentence for each line."""
    data = MMapIndexedDataset(prefix)
    if len(data) != (lines := count_lines(text)):
        sys.exit(f"{prefix}: {len(data)} sentences of the {lines} lines of {text}")
    expected = int(data.sizes.sum()) * data._index.dtype().itemsize
    if (size := Path(data_file_path(prefix)).stat().st_size) != expected:
        sys.exit(f"{prefix}.bin: {size} bytes, but its index says {expected}")


def main(arguments: list[str] | None = None) -> None:
    """Run fairseq-preprocess with its arguments, by default those of the command line. Exit if it fails."""
    args = options.get_preprocessing_parser().parse_args(arguments)
    binarizer.Pool = Pool
    try:
        fairseq_preprocess.main(args)
    except (OSError, BrokenProcessPool) as error:
        sys.exit(str(error))
    for split, prefixes in (("train", args.trainpref), ("valid", args.validpref), ("test", args.testpref)):
        for number, prefix in enumerate(prefixes.split(",") if prefixes else ()):
            for lang in (None,) if args.only_source else (args.source_lang, args.target_lang):
                made = fairseq_preprocess.dataset_dest_prefix(args, f"{split}{number or ''}", lang)
                check(Path(f"{prefix}.{lang}" if lang else prefix), made)


if __name__ == "__main__":
    main()
