"""recipes/data/archives.py: members of an archive become files, and an archive that cannot be used is told."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from recipes.data.archives import extract
from support.sources import pack

PAGE = b"\n<!DOCTYPE html><title>Sign in</title>"


def links(archive: Path) -> Path:
    """Write an archive with links of both kinds that lead nowhere, and a text."""
    with tarfile.open(archive, "w") as tar:
        for name, kind in (("a", tarfile.SYMTYPE), ("b", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "../nowhere"
            tar.addfile(link)
        text = tarfile.TarInfo("c/x.de")
        text.size = 4
        tar.addfile(text, io.BytesIO(b"eins"))
    return archive


def test_links_in_an_archive_do_not_matter(tmp_path: Path) -> None:
    extract(links(tmp_path / "x.tar"), {"c/x.de": tmp_path / "x.de"})
    assert (tmp_path / "x.de").read_text() == "eins"


def test_members_of_an_archive_in_an_archive(tmp_path: Path) -> None:
    inner = pack(tmp_path / "inner.tgz", {"p/x.de": "eins\n", "p/y.de": "zwei\n"})
    outer = pack(tmp_path / "outer.tgz", {"a/de-en.tgz": inner.read_bytes(), "x.en": "one\n"})
    extract(outer, {"p/x.de": tmp_path / "made.de", "x.en": tmp_path / "made.en"}, inner="de-en.tgz")
    assert (tmp_path / "made.de").read_text() + (tmp_path / "made.en").read_text() == "eins\none\n"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda archive: archive.write_bytes(PAGE), "not a whole archive (Not a gzipped file"),
        (lambda archive: archive.write_bytes(archive.read_bytes()[:-20]), "not a whole archive (Compressed file ended"),
        (lambda archive: pack(archive, {"d/y.de": "x"}), "the archive has no d/x.de"),
    ],
)
@pytest.mark.parametrize("fetched", [True, False])
def test_an_archive_that_cannot_be_used(
    tmp_path: Path, spoil: Callable[[Path], object], message: str, fetched: bool
) -> None:
    """One that was downloaded gets another name, so that it is downloaded again; one of the user's stays as it is."""
    archive = pack(tmp_path / "x.tgz", {"d/x.de": "eins\n" * 99})
    spoil(archive)
    before = archive.read_bytes()
    with pytest.raises(SystemExit) as error:
        extract(archive, {"d/x.de": tmp_path / "x.de"}, fetched=fetched)
    line = str(error.value)
    assert line.startswith(f"{archive}: {message}") and "\n" not in line
    assert line.endswith("; it is now x.tgz.broken, run the script again to download it") == fetched
    assert archive.exists() != fetched
    assert (tmp_path / ("x.tgz.broken" if fetched else "x.tgz")).read_bytes() == before
