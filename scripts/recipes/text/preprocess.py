"""fairseq-preprocess with its options: it ends where a worker is killed, and checks what it wrote against the texts."""

import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import fairseq_cli.preprocess as fairseq_preprocess
from fairseq import binarizer, options
from fairseq.data.indexed_dataset import MMapIndexedDataset, data_file_path

from recipes.text.line_pool import count_lines, start_workers


class Pool:
    """What fairseq uses of multiprocessing's pool, which waits for ever where a worker is killed."""

    def __init__(self, processes: int) -> None:
        self._pool = start_workers(processes)

    def apply_async(self, function: Callable[..., Any], args: tuple[Any, ...], kwds: dict[str, Any]) -> "Result":
        return Result(self._pool.submit(function, *args, **kwds))

    def close(self) -> None:
        """Do nothing: `join` closes it."""

    def join(self) -> None:
        self._pool.shutdown()


class Result:
    """What a worker returns, as multiprocessing's pool gives it."""

    def __init__(self, future: "Future[Any]") -> None:
        self.get = future.result


def check(text: Path, prefix: str) -> None:
    """Exit with one line unless fairseq's PREFIX.idx and PREFIX.bin are whole and have a sentence for each line."""
    data = MMapIndexedDataset(prefix)
    lines, size = count_lines(text), Path(data_file_path(prefix)).stat().st_size
    expected = int(data.sizes.sum()) * data._index.dtype().itemsize
    if len(data) != lines:
        sys.exit(f"{prefix}: {len(data)} sentences of the {lines} lines of {text}")
    if size != expected:
        sys.exit(f"{prefix}.bin: {size} bytes, but its index says {expected}")


def main() -> None:
    args = options.get_preprocessing_parser().parse_args()
    binarizer.Pool = Pool
    fairseq_preprocess.main(args)
    for split, prefixes in (("train", args.trainpref), ("valid", args.validpref), ("test", args.testpref)):
        for number, prefix in enumerate(prefixes.split(",") if prefixes else ()):
            for lang in filter(None, (args.source_lang, args.target_lang)) if not args.only_source else (None,):
                made = fairseq_preprocess.dataset_dest_prefix(args, f"{split}{number or ''}", lang)
                check(Path(f"{prefix}.{lang}" if lang else prefix), made)


if __name__ == "__main__":
    main()
