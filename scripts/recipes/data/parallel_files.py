"""Prepare a language pair from files of parallel text, NAME.LANG or NAME.LANG.gz, that are published or a user's."""

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from recipes.cli import need, warn
from recipes.data.fetch import fetch
from recipes.data.pipeline import Step, prepare
from recipes.data.prepared import Prepared, read_prepared
from recipes.data.translation import Translation
from recipes.files import sha256
from recipes.layout import SETTINGS
from recipes.text import segment
from recipes.text.looks import Look, look
from recipes.text.moses import language
from recipes.text.parallel import check

SEGMENTED = "pass segmented text with --tokenized, or let --subwords sentencepiece split the text"
Source = Callable[[str, str], str]  # from NAME and LANG to an address or a path; empty if there is none


def find_sources(
    folder: Path | None, source_of: Source, langs: Iterable[str], required: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, dict[str, str]]:
    """Return the source of both sides of each text, by name and language. Exit if the folder lacks one.

    An optional text may be missing on both sides.
    """
    found = {name: {lang: source_of(name, lang) for lang in langs} for name in (*required, *optional)}
    for name in optional:
        if not any(found[name].values()):
            del found[name]
    for name, sides in found.items():
        for lang, source in sides.items():
            if not source:
                sys.exit(f"{folder} has no {name}.{lang}; --help says which names of files are expected")
    return found


def prepare_files(
    args: Namespace,
    settings: Prepared,
    sources: dict[str, dict[str, str]],
    checksums: Mapping[str, str] | None = None,
    steps: Translation | None = None,
    finish: Callable[[Path], None] | None = None,
    **checks: bool,
) -> None:
    """Run all steps from files of parallel text to binarized data.

    Args:
        settings: how the data is prepared; the test sets are added to it.
        sources: what `find_sources` returns. The first two texts are train and valid, the others are test sets.
        checksums: the SHA-256 of published files by name. Without --from the settings take the sums from here.
        steps: those that follow the text, if they are not those that `args` say.
        finish: is called with the folder of the text, raw, in place of `examine`.
        checks: options of `parallel.check`.
    """
    names = list(sources)
    langs = tuple(sources["train"])
    settings.testsets = names[2:]
    all_sources = {f"{name}.{lang}": source for name in names for lang, source in sources[name].items()}

    def digests() -> dict[str, str]:
        by_file = {source.rsplit("/", 1)[-1]: source for source in all_sources.values()}
        if not args.source:
            known = checksums or {}
            if unknown := [file for file in by_file if file not in known]:
                sys.exit(f"no checksum is known for {unknown[0]}: pass a folder with the files by --from")
            return {file: known[file] for file in by_file}
        return {file: sha256(Path(source)) for file, source in by_file.items()}

    def make_raw(part: Path) -> None:
        if checksums and not all(source.endswith(".gz") for source in all_sources.values()):
            print("raw: no checksum is published for uncompressed files: only their form is checked")
        for file, source in all_sources.items():
            fetch(source, part / file, (checksums or {}).get(source.rsplit("/", 1)[-1]))
        for name in names:
            check(part / name, langs, part / "raw", args.train_lines if name == "train" else None, **checks)
        if finish:
            finish(part / "raw")
        else:
            examine([part / "raw" / file for file in all_sources], settings, args.workers)

    check_languages(settings, langs)
    if settings.tokenized and (args.out / SETTINGS).is_file():
        settings.escaped = read_prepared(args.out).escaped  # `examine` found it in the same sources, or finds it again
    if not steps:
        moses, both_ways = getattr(args, "moses", None), getattr(args, "both_ways", False)  # not all scripts have them
        steps = Translation(args.out, langs, args.bpe, args.workers, moses=moses, both_ways=both_ways)
    prepare(args.out, settings, [Step("raw", make_raw), *steps.steps], digests, source_is_given=bool(args.source))


def check_languages(settings: Prepared, langs: Iterable[str]) -> None:
    """Exit if tokens are to be made of a language that writes no spaces, and what segments its text is missing."""
    for lang in () if settings.tokenized else langs:
        need(segment.MODULES.get(segment.base(lang), ()))
        if segment.base(lang) in segment.UNSEGMENTED and not settings.pieces:
            sys.exit(f"{lang} writes no spaces between words, and there is no segmenter for it: {SEGMENTED}")


def examine(texts: Iterable[Path], settings: Prepared, workers: int) -> None:
    """Look at the texts whether they are what the settings say, and find whether tokens that are made are escaped.

    Print a line on stderr for each text that looks tokenized or escaped where it should not be. Exit if a training text
    is not segmented where it has to be.
    """
    found = look(texts, workers)
    for text, seen in found.items():
        lang = language(text)
        segments = not settings.tokenized and segment.base(lang) in segment.SEGMENTERS
        if text.stem == "train" and seen.unsegmented and not (segments or settings.pieces):
            sys.exit(f"{text.name} has no spaces between its words: {SEGMENTED}")
        if seen.made and not settings.tokenized:
            looks = f"{seen.made:,} of {seen.counts['lines']:,} lines look tokenized or escaped already"
            instead = "prepare_text.sh --tokenized takes tokens as they are"
            warn(f"warning: {text.name}: {looks}, the first on {seen.example}; {instead}")
    if settings.tokenized:
        together = Look(sum((seen.counts for seen in found.values()), Counter()))
        settings.escaped = together.escaped
        holds = f"{together.counts['escaped']:,} lines hold Moses' escapes such as &apos;"
        print(f"raw: {holds}, which scoring {'undoes' if settings.escaped else 'leaves as they are'}")
