"""Run the steps that prepare a data set. A step makes folders, whole or not at all; a step that is done is left out."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recipes import cli, files
from recipes.data.prepared import Prepared, read_prepared

LOCK = ".prepare.lock"
PATIENCE = 3  # seconds to wait for another run in the same folder
FOLDERS = ("raw", "text", "tokens", "codes", "tok", "bpe", "bin", "both")  # what the steps of all scripts make


@dataclass(frozen=True)
class Step:
    """A step of a pipeline.

    `make` is called with a temporary folder that holds an empty folder for each of the step's, to be filled. What else
    is left in the temporary folder is removed.
    """

    name: str  # the folders that it makes in the output folder, separated by spaces
    make: Callable[[Path], None]
    is_wanted: bool = True  # a step that is not leaves its folders as they are, unless a step before it is made again

    @property
    def folders(self) -> list[str]:
        """The folders that it makes."""
        return self.name.split()

    def is_done(self, out: Path) -> bool:
        """Return whether all folders exist. They are renamed into place only when complete, so they are complete."""
        return all((out / folder).is_dir() for folder in self.folders)


def prepare(
    out: Path,
    settings: Prepared,
    steps: Sequence[Step],
    sources: Callable[[], dict[str, str]] = dict,
    *,
    source_is_given: bool = False,
) -> None:
    """Run the steps that are not done, in order, and write the settings when the first one is.

    A run that ends early, even by kill -9, leaves no folder half-made; the next run goes on from there. When a step is
    made again, the folders of later steps are removed, because they were made from what was there before. Exit with one
    line if `out` holds foreign files, if another run is at work in it, or if its data was made with other settings.

    Args:
        out: an absolute path.
        settings: how the data is prepared. The first step may change its sources.
        sources: returns the SHA-256 of each source by name. It is called if the first step is not done.
        source_is_given: also call it if the first step is done, to compare the sources.
    """
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    cli.if_interrupted("run it again to go on")
    with _claimed(out):
        if source_is_given or not steps[0].is_done(out):
            settings.sources = sources()
        if any((out / folder).is_dir() for folder in FOLDERS):
            check_settings(out, settings, read_prepared(out))
        for number, step in enumerate(steps):
            if step.is_done(out) or not step.is_wanted:
                if step.is_wanted:
                    print(f"{step.name}: done before")
                continue
            start = time.monotonic()
            with files.own_folder(out, "prepare") as part:
                for folder in step.folders:
                    (part / folder).mkdir()
                step.make(part)
                for later in steps[number:]:
                    for folder in later.folders:
                        shutil.rmtree(out / folder, ignore_errors=True)
                if number == 0:
                    settings.write(out)
                for folder in step.folders:
                    (part / folder).rename(out / folder)
            print(f"{step.name}: done in {int(time.monotonic() - start)} s")


def check_settings(out: Path, ours: Prepared, made: Prepared) -> None:
    """Exit unless the data in a folder was made with our settings.

    Options come first, because the sources may differ as a result of one. The sources are compared where ours are
    known: without --from they are not read again. Data of a time when settings did not name the script is accepted.
    """
    options, options_made = ours.settings, made.settings
    if not made.script:
        del options["script"], options_made["script"]
    now = options | ours.sources
    before = options_made | {name: digest for name, digest in made.sources.items() if name in ours.sources}
    for name in options_made | options | before | now:
        if before.get(name) != now.get(name):
            was, is_now = (f"{name}: {one[name]}" if name in one else f"no {name}" for one in (before, now))
            sys.exit(f"{out} was made with {was}, not with {is_now}; use another --out")


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Make the output folder if it is missing, and lock it. Exit if that fails, or if it holds something else."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"cannot make the folder {out} ({error.strerror})")
    if any(out.iterdir()) and not (out / LOCK).exists():
        sys.exit(f"{out} holds files that no prepare script made; use another --out")
    descriptor = files.lock(out / LOCK, PATIENCE)
    if descriptor is None:
        sys.exit(f"another run is at work in {out}")
    # Child processes hold the lock too: after kill -9 they may write on for a moment.
    os.set_inheritable(descriptor, True)
    try:
        yield
    finally:
        os.close(descriptor)
