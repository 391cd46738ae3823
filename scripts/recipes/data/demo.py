"""The demo: German and English sentences of a grammar, which lie in demo_text/."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from recipes.cli import ROOT
from recipes.data.options import Options
from recipes.data.pipeline import Step, prepare
from recipes.data.prepared import Prepared
from recipes.data.translation import Translation

TEXT = Path(__file__).with_name("demo_text")
MERGES = 1000
# The text is named by the program that generated it, as in the settings of demo data that was prepared with it.
CORPUS = "1345f7e1efa86223f4c3da057226d4dc0a2e13aa9c4bb504d8814bf3a2dbd834"


def main(arguments: Sequence[str]) -> None:
    """Run the command prepare_demo.sh."""

    def copy(part: Path) -> None:
        for text in TEXT.iterdir():
            shutil.copyfile(text, part / "raw" / text.name)

    args = Options().parse_args(arguments)
    args.out = args.out or ROOT / "data" / "demo"
    chosen: dict[str, str | int | bool] = {"corpus": CORPUS, "train-lines": 1500, "bpe": MERGES}
    settings = Prepared("prepare_demo.sh", chosen, testsets=["test"])
    prepare(args.out, settings, [Step("raw", copy), *Translation(args.out, ("de", "en"), MERGES, args.workers).steps])
