"""IWSLT's talks: text with mark-up -> Moses tokens -> clean training pairs -> BPE -> binarized data.

The steps and their order are those of fairseq's prepare-iwslt14.sh.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from recipes.cli import ROOT, need
from recipes.data.archives import extract, find_archive, prepare_archives, settings_of
from recipes.data.options import Options, file_or_folder, tell_next
from recipes.data.pipeline import Step
from recipes.data.preparation import rules_of
from recipes.data.translation import Translation
from recipes.text import moses
from recipes.text.clean import clean
from recipes.text.parallel import join, side

LONGEST = 175  # tokens of a training line
EVERY = 23  # each 23rd of the clean training pairs is for validation


@dataclass(frozen=True)
class Release:
    """What was published in a year."""

    name: str  # as in the names of its files
    archive: str  # of all pairs
    page: str  # where that archive is linked
    addresses: Mapping[str, str]  # of the archive of each pair, by the language that is not English
    notes: Sequence[str]  # what marks the lines of train.tags that are no text of a talk
    testsets: Mapping[str, Mapping[str, Sequence[str]]]  # the published sets of each test set, by that language


class Talks:
    """The steps for one pair of a release; both directions share them."""

    def __init__(self, release: Release, arguments: Sequence[str]) -> None:
        pairs = " ".join(f"{lang}-en en-{lang}" for lang in release.addresses)
        options = Options("--moses", source=file_or_folder, pairs=pairs, bpe=10_000, both_ways=True)
        options.add_argument("--cased", action="store_true")
        self.args = args = options.parse_args(arguments)
        self.release = release
        self.lang = lang = args.pair.replace("en", "").strip("-")
        need(["jieba"] if lang == "zh" else [])
        self.langs, self.pair = (lang, "en"), f"{lang}-en"
        self.testsets = release.testsets[lang]
        self.out = args.out or ROOT / "data" / f"{release.name.lower()}_{lang}en"
        script = f"prepare_{release.name.lower()}.sh"
        self.settings = settings_of(script, self.pair, args, self.testsets, lowercase=not args.cased)
        how = {"joint": lang != "zh", "both_ways": args.both_ways}
        self.shared = Translation(self.out, self.langs, args.bpe, args.workers, **how)
        if args.both_ways and not self.shared.joint:
            sys.exit(f"--both-ways needs one dictionary, and {self.pair} has two")

    def prepare(self) -> None:
        """Run all steps, and print what to run next."""
        args, year = self.args, self.release.name.lower()
        steps = [Step("text", self.text), Step("tokens", self.tokens), Step("raw tok", self.splits)]
        steps += self.shared.steps[1:]
        prepare_archives(args, self.out, self.settings, steps, lambda: [self.archive()])
        config = f"{year}_{args.pair.replace('-', '')}"
        tell_next(self.out, f"{year}_{self.lang}en", f"configs/{config}/rdrop.yaml")

    def archive(self) -> Path:
        """Return the archive of the pair or of the year. Download that of the pair if --from is not given."""
        year, page = self.release.archive, self.release.page
        instead = f"WIT3 has its archives on Google Drive: get {year} from {page} and pass it with --from FILE"
        address = self.release.addresses[self.lang]
        return find_archive(self.args.source, (f"{self.pair}.tgz", year), address, self.out, instead)

    def text(self, part: Path) -> None:
        """Take the text out of the archive, without mark-up."""
        train = part / f"train.tags.{self.pair}"
        tests = {
            name: [part / f"{self.release.name}.{one}.{self.pair}.xml" for one in sets]
            for name, sets in self.testsets.items()
        }
        wanted = {f"{self.pair}/{train.name}.{lang}": side(train, lang) for lang in self.langs}
        for test in chain(*tests.values()):
            wanted |= {f"{self.pair}/{test.stem}.{lang}.xml": side(test, lang) for lang in self.langs}
        inner = f"texts/{self.lang}/en/{self.pair}.tgz"
        extract(self.archive(), wanted, inner=inner, fetched=not self.args.source)
        join("train", [train], self.langs, part / "text", notes=self.release.notes)
        for name, prefixes in tests.items():
            join(name, prefixes, self.langs, part / "text")

    def tokens(self, part: Path) -> None:
        """Make tokens of the text; their case is kept."""
        rules = replace(rules_of(self.settings), lowercase=False)  # `splits` lower-cases what is clean
        moses.tokenize(self.shared.texts("text"), part / "tokens", self.args.workers, rules, self.args.moses)

    def splits(self, part: Path) -> None:
        """Clean the training pairs like clean-corpus-n.perl, and split train from valid, in tokens and in raw text."""
        tokens, raw, cased = part / ".tokens", part / ".raw", part / ("tok" if self.args.cased else ".cased")
        for folder in (tokens, raw, cased):
            folder.mkdir(exist_ok=True)
        clean(self.out / "tokens/train", self.langs, tokens, LONGEST, beside=[(self.out / "text/train", raw)])
        for source, whole, target in ((tokens, "tokens", cased), (raw, "text", part / "raw")):
            quiet = whole == "text"  # the same counts were printed for the tokens
            join("train", [source / "train"], self.langs, target, every=EVERY, quiet=quiet)
            for name in self.testsets:
                join(name, [self.out / whole / name], self.langs, target, quiet=quiet)
        if not self.args.cased:
            moses.lowercase(sorted(cased.iterdir()), part / "tok", self.args.workers, self.args.moses)
