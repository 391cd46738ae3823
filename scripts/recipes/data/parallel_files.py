"""Prepare a language pair from files of parallel text, NAME.LANG or NAME.LANG.gz, that are published or a user's."""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from recipes.data.fetch import fetch
from recipes.data.pipeline import Step, prepare
from recipes.data.prepared import Prepared
from recipes.data.translation import Translation
from recipes.files import sha256
from recipes.text.parallel import check

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
    **checks: bool,
) -> None:
    """Run all steps from files of parallel text to binarized data.

    Args:
        settings: how the data is prepared; the test sets are added to it.
        sources: what `find_sources` returns. The first two texts are train and valid, the others are test sets.
        checksums: the SHA-256 of published files by name. Without --from the settings take the sums from here.
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

    steps = Translation(args.out, langs, args.bpe, args.workers).steps
    prepare(args.out, settings, [Step("raw", make_raw), *steps], digests, source_is_given=bool(args.source))
