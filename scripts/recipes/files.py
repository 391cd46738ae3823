"""Print the SHA-256 of files, one a line."""

import argparse
import hashlib
from pathlib import Path

from tqdm import tqdm


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file."""
    digest, size = hashlib.sha256(), file.stat().st_size
    with (
        file.open("rb") as source,
        tqdm(desc=file.name, total=size, unit="B", unit_scale=True, leave=False, disable=None, delay=2) as bar,
    ):
        while block := source.read(1 << 20):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    for file in parser.parse_args().files:
        print(sha256(file))


if __name__ == "__main__":
    main()
