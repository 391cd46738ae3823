"""Draw the pictures of results again, from the JSON that a benchmark left.

python benchmarks/redraw.py FILE.json ...

The file's name begins with that of its benchmark, as in step_cpu.json; the picture goes beside it.
"""

import importlib
from pathlib import Path

from measure import say, write_picture
from recipes import cli


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.json")
    for file in parser.parse_args().files:
        benchmark = file.stem.split("_")[0]
        if benchmark not in ("loss", "step", "throughput", "prepare") or not file.is_file():
            parser.error(f"{file}: no JSON file of a benchmark")
        say(f"Written: {write_picture(file, importlib.import_module(benchmark).draw)}")


if __name__ == "__main__":
    main()
