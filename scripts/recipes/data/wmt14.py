"""WMT14: English and German or French, of parliaments, news and web pages."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recipes.cli import ROOT
from recipes.data.archives import extract, find_archive, prepare_archives, settings_of
from recipes.data.options import Options, folder, tell_next
from recipes.data.pipeline import Step
from recipes.data.preparation import WMT14, rules_of
from recipes.data.translation import Translation
from recipes.text import moses
from recipes.text.clean import clean
from recipes.text.parallel import join

SITE = "http://statmt.org"
# Archives of training text, in their order, and their members; then that of newstest2014.
BOTH = {
    "wmt13/training-parallel-europarl-v7.tgz": "training/europarl-v7.{target}-en.{lang}",
    "wmt13/training-parallel-commoncrawl.tgz": "commoncrawl.{target}-en.{lang}",
    "wmt14/training-parallel-nc-v9.tgz": "training/news-commentary-v9.{target}-en.{lang}",
}
FRENCH = {
    "wmt13/training-parallel-un.tgz": "un/undoc.2000.fr-en.{lang}",
    "wmt10/training-giga-fren.tar": "giga-fren.release2.fixed.{lang}.gz",
}
TEST, TEST_MEMBER = "wmt14/test-full.tgz", "newstest2014-{target}en-{side}.{lang}.sgm"
CORPORA = {"de": BOTH, "fr": BOTH | FRENCH}
EVERY = {"de": 100, "fr": 1333}  # each 100th or 1333rd training pair is for validation
LONGEST = 250  # subwords of a line


class Wmt14:
    """The steps for one pair."""

    def __init__(self, arguments: Sequence[str]) -> None:
        options = Options("--moses", source=folder, pairs="en-de en-fr", bpe=32_000)
        self.args = args = options.parse_args(arguments)
        self.langs = source, self.target = tuple(args.pair.split("-"))
        self.out = args.out or ROOT / "data" / f"wmt14_{source}{self.target}"
        self.settings = settings_of(WMT14, args.pair, args, ["test"], lowercase=False)
        self.shared = Translation(self.out, self.langs, args.bpe, args.workers)

    def prepare(self) -> None:
        """Run all steps, and print what to run next."""
        codes = Step("codes", lambda part: self.shared.learn("tokens", part / "codes"))
        steps = [Step("text", self.text), Step("tokens", self.tokens), codes, Step("raw tok bpe", self.splits)]
        steps += self.shared.binarized
        prepare_archives(self.args, self.out, self.settings, steps, lambda: self.archives().values())
        name = f"wmt14_en{self.target}"
        tell_next(self.out, name, f"configs/{name}/rdrop.yaml")

    def archives(self) -> dict[str, Path]:
        """Return the archives by their places on the site. Download those that are missing if --from is not given."""
        places = (*CORPORA[self.target], TEST)
        source = self.args.source
        return {place: find_archive(source, [Path(place).name], f"{SITE}/{place}", self.out) for place in places}

    def text(self, part: Path) -> None:
        """Take the text out of the archives, and split train from valid."""
        prefixes = []
        for place, archive in self.archives().items():
            wanted = {}
            for side, lang in zip(("src", "ref"), self.langs, strict=True):
                member = CORPORA[self.target].get(place, TEST_MEMBER).format(target=self.target, side=side, lang=lang)
                prefix = "newstest2014.sgm" if place == TEST else Path(member.removesuffix(".gz")).stem
                wanted[member] = part / f"{prefix}.{lang}"
            extract(archive, wanted, fetched=not self.args.source)
            prefixes.append(part / prefix)
        *train, test = prefixes
        join("train", train, self.langs, part / "text", every=EVERY[self.target], repair=True)
        join("test", [test], self.langs, part / "text", repair=True)

    def tokens(self, part: Path) -> None:
        """Make tokens of the text. Punctuation is normalized in train and valid, as fairseq's scripts do it."""
        texts = self.shared.texts("text")
        for normalize in (True, False):
            rules = replace(rules_of(self.settings), normalize=normalize)
            files = [text for text in texts if (text.stem != "test") == normalize]
            moses.tokenize(files, part / "tokens", self.args.workers, rules, self.args.moses)

    def splits(self, part: Path) -> None:
        """Apply BPE, and keep the pairs of train and valid that clean-corpus-n.perl keeps."""
        self.shared.apply(self.out / "codes", "tokens", part)
        beside = [(self.out / "text/valid", part / "raw"), (self.out / "tokens/valid", part / "tok")]
        clean(part / "train", self.langs, part / "bpe", LONGEST)
        clean(part / "valid", self.langs, part / "bpe", LONGEST, beside=beside)
        for source, target in ((self.out / "text", "raw"), (self.out / "tokens", "tok"), (part, "bpe")):
            for lang in self.langs:
                shutil.copy(source / f"test.{lang}", part / target)
        shutil.copy(self.out / "codes/codes", part / "bpe")


def main(arguments: Sequence[str]) -> None:
    """Run the command prepare_wmt14.sh."""
    Wmt14(arguments).prepare()
