"""Print the SHA-256 of files, one a line."""

import sys
from pathlib import Path

from recipes.files import sha256


def main() -> None:
    for file in sys.argv[1:]:
        print(sha256(Path(file)))
