"""What the years of IWSLT share: talks with mark-up -> Moses tokens -> clean training pairs -> BPE -> binarized data.

The steps and their order are those of fairseq's prepare-iwslt14.sh.
"""

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes.cli import ROOT
from recipes.data.archives import downloaded, extract, settings_of
from recipes.data.options import Options, file_or_folder
from recipes.data.pipeline import Step, prepare
from recipes.data.translation import Translation
from recipes.files import sha256
from recipes.text import moses
from recipes.text.clean import clean
from recipes.text.parallel import join

LONGEST = 175  # tokens of a training line
EVERY = 23  # each 23rd of the clean training pairs is for validation


@dataclass(frozen=True)
class Release:
    """What was published in a year.

    Attributes:
        name: as in the names of its files: IWSLT14.
        archive: the archive of all pairs.
        page: where that can be had.
        addresses: where the archive of a pair is, by the language that is not English.
        notes: what marks the lines of train.tags that are no text of a talk.
        testsets: the published sets that each test set is made of, by that language.
    """

    name: str
    archive: str
    page: str
    addresses: dict[str, str]
    notes: Sequence[str]
    testsets: dict[str, dict[str, Sequence[str]]]

    @property
    def pairs(self) -> str:
        return " ".join(f"{lang}-en en-{lang}" for lang in self.addresses)


class Talks:
    """The steps for one pair of a release; both directions share them."""

    def __init__(self, release: Release, arguments: Sequence[str] | None) -> None:
        options = Options("--bpe", "--cased", "--moses", source=file_or_folder, pairs=release.pairs, bpe=10_000)
        self.args = args = options.parse_args(arguments)
        self.release = release
        self.lang = lang = args.pair.replace("en", "").strip("-")
        if lang == "zh" and importlib.util.find_spec("jieba") is None:
            sys.exit("not installed: jieba; run make install, or activate the environment that has it")
        self.langs, self.pair = (lang, "en"), f"{lang}-en"
        self.testsets = release.testsets[lang]
        self.out = args.out or ROOT / "data" / f"{release.name.lower()}_{lang}en"
        self.shared = Translation(self.out, self.langs, args.bpe, args.workers, joint=lang != "zh")

    def prepare(self) -> None:
        """Run all steps."""
        args, year = self.args, self.release.name.lower()
        settings = settings_of(f"prepare_{year}.sh", self.pair, args, self.testsets, lowercase=not args.cased)
        steps = [Step("text", self.text), Step("tokens", self.tokens), Step("raw tok", self.splits)]
        steps += self.shared.steps[1:]
        prepare(self.out, settings, steps, self.digests, source_is_given=bool(args.source))
        config = f"{year}_{args.pair.replace('-', '')}"
        print(f"The data is in {self.out}/bin. Next: scripts/train.sh configs/{config}/rdrop.yaml")

    def archive(self) -> Path:
        """Return the archive of the pair or of the year. Download that of the pair if --from is not given."""
        source, year, page = self.args.source, self.release.archive, self.release.page
        if not source:
            instead = f"WIT3 has its archives on Google Drive: get {year} from {page} and pass it with --from FILE"
            return downloaded(self.release.addresses[self.lang], self.out, instead)
        if source.is_file():
            return source
        for name in (f"{self.pair}.tgz", year):
            if (source / name).is_file():
                return source / name
        sys.exit(f"--from: {source} has neither {self.pair}.tgz nor {year}")

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of the archive by its name."""
        archive = self.archive()
        return {archive.name: sha256(archive)}

    def text(self, part: Path) -> None:
        """Take the text out of the archive, without mark-up."""
        members = part / ".members"
        members.mkdir()
        train = f"train.tags.{self.pair}"
        tests = {
            name: [f"{self.release.name}.{one}.{self.pair}" for one in sets] for name, sets in self.testsets.items()
        }
        wanted = {f"{self.pair}/{train}.{lang}": members / f"{train}.{lang}" for lang in self.langs}
        for prefix in (prefix for prefixes in tests.values() for prefix in prefixes):
            wanted |= {f"{self.pair}/{prefix}.{lang}.xml": members / f"{prefix}.xml.{lang}" for lang in self.langs}
        inner = f"texts/{self.lang}/en/{self.pair}.tgz"
        extract(self.archive(), wanted, inner=inner, fetched=not self.args.source)
        join("train", [members / train], self.langs, part / "text", notes=self.release.notes)
        for name, prefixes in tests.items():
            join(name, [members / f"{prefix}.xml" for prefix in prefixes], self.langs, part / "text")

    def tokens(self, part: Path) -> None:
        """Make tokens of the text."""
        rules = moses.Rules(escape=True)
        moses.tokenize(self.shared.texts("text"), part / "tokens", self.args.workers, rules, self.args.moses)

    def splits(self, part: Path) -> None:
        """Clean the training pairs like clean-corpus-n.perl, and split train from valid, in tokens and in raw text."""
        tokens, raw, cased = (part / f".{name}" for name in ("tokens", "raw", "cased"))
        for folder in (tokens, raw, cased):
            folder.mkdir()
        clean(self.out / "tokens/train", self.langs, tokens, LONGEST, beside=[(self.out / "text/train", raw)])
        for source, whole, target in ((tokens, "tokens", cased), (raw, "text", part / "raw")):
            quiet = whole == "text"  # it tells what that of the tokens has told
            join("train", [source / "train"], self.langs, target, every=EVERY, quiet=quiet)
            for name in self.testsets:
                join(name, [self.out / whole / name], self.langs, target, quiet=quiet)
        if self.args.cased:
            shutil.copytree(cased, part / "tok", dirs_exist_ok=True)
        else:
            moses.lowercase(sorted(cased.iterdir()), part / "tok", self.args.workers, self.args.moses)
