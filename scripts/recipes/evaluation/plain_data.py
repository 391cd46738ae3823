"""Binarized data that fairseq-preprocess made of text that no prepare script knows: its test sets and references."""

import sys
from functools import cached_property
from pathlib import Path
from typing import Any

from recipes.data.preparation import text_of, tokens_of
from recipes.data.prepared import Prepared
from recipes.evaluation.safe_checkpoint import failure_in_one_line
from recipes.text.looks import ENTITY
from recipes.text.pieces import SPACE


class PlainData:
    """A folder of fairseq-preprocess. The text is taken as it is there: as tokens, or as subwords that are joined.

    Attributes:
        prepared: what a prepare script would say about the data.
        post_process: which kind of subwords to join, as fairseq's --post-process takes it.
    """

    def __init__(self, folder: Path, source: str, target: str, post_process: str | None) -> None:
        """Read the target dictionary. Without a `post_process`, its entries show the kind of the subwords."""
        self.folder, self.source, self.target = folder, source, target
        symbols = set(self.dictionary.symbols)
        pieces = sum(symbol.startswith(SPACE) for symbol in symbols) > len(symbols) / 20
        self.post_process = post_process or ("sentencepiece" if pieces else "subword_nmt")
        self.prepared = Prepared(
            script="",
            options={"subwords": "sentencepiece"} if self.post_process == "sentencepiece" else {},
            testsets=self.testsets(),
            escaped=any(ENTITY.search(symbol) for symbol in symbols),
        )

    @cached_property
    def dictionary(self) -> Any:
        """The dictionary of the target language."""
        with failure_in_one_line(f"reading {self.folder}/dict.{self.target}.txt"):
            from fairseq.data import Dictionary

            return Dictionary.load(f"{self.folder}/dict.{self.target}.txt")

    def testsets(self) -> list[str]:
        """Return fairseq's names of the test sets: test, test1, ..."""
        names = [f"test{number or ''}" for number in range(len(list(self.folder.glob("test*.idx"))))]
        return [name for name in names if any(self.folder.glob(f"{name}.*.{self.target}.idx"))]

    def reference(self, kind: str, name: str) -> list[str]:
        """Return the lines of a text such as "test" or "valid" in the target language: "tok"ens, or "raw" plain text.

        A word that the dictionary does not have is <<unk>> there, as in fairseq-generate, and equals no other word.
        """
        with failure_in_one_line(f"reading {self.folder}, {name}"):
            from fairseq.data.data_utils import load_indexed_dataset

            stems = [
                f"{name}.{a}-{b}.{self.target}" for a, b in ((self.source, self.target), (self.target, self.source))
            ]
            texts = [load_indexed_dataset(f"{self.folder}/{stem}", self.dictionary) for stem in stems]
            text = next((text for text in texts if text is not None), None)
            if text is None:
                sys.exit(f"{self.folder} has no text {stems[0]}")
            lines = [self.dictionary.string(line, self.post_process, escape_unk=True) for line in text]
        return (tokens_of if kind == "tok" else text_of)(lines, self.target, self.prepared)

    def __str__(self) -> str:
        """Say how the data is read."""
        return (
            f"{self.folder.parent} has no settings.json: the text is scored as the tokens that {self.folder.name} "
            f"holds, with subwords joined as {self.post_process}, and the references come from there too"
        )
