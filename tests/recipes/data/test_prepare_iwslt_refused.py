"""scripts/prepare_iwslt14.sh and prepare_iwslt17.sh: options and archives that they refuse, and downloads."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from recipes.data import iwslt14, iwslt17, talks
from support.prepare import prepared, refused
from support.sources import TRAIN, german, modern, pack, segments, spanish

IWSLT14, IWSLT17 = "prepare_iwslt14.sh", "prepare_iwslt17.sh"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return pack(tmp_path / "de-en.tgz", german())


def rest(out: Path) -> bool:
    """Return whether anything was made of the text."""
    return any((out / folder).exists() for folder in ("text", "tokens", "raw", "tok", "bpe", "bin", "settings.json"))


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        (IWSLT14, ["de-fr"], "invalid choice: 'de-fr' (choose from 'de-en', 'en-de', 'es-en', 'en-es')"),
        (IWSLT17, ["de-en"], "invalid choice: 'de-en' (choose from 'fr-en', 'en-fr', 'zh-en', 'en-zh')"),
        (IWSLT14, [], "the following arguments are required: PAIR (de-en en-de es-en en-es)"),
        (IWSLT14, ["de-en", "en-de"], "unrecognized arguments: en-de"),
        (IWSLT14, ["de-en", "--from", "/no/such"], "--from: there is no '/no/such'"),
        (IWSLT14, ["de-en", "--from", "/dev/zero"], "--from: '/dev/zero' is neither a file nor a folder"),
        (IWSLT14, ["de-en", "--moses", "/no/such"], "'/no/such' is no checkout of Moses: it has no scripts/tokenizer"),
        (IWSLT14, ["de-en", "--from"], "--from: expected one argument"),
        (IWSLT14, ["de-en", "--bpe", "many"], "--bpe: must be a positive integer, not 'many'"),
        (IWSLT14, ["de-en", "--train-lines", "5"], "unrecognized arguments: --train-lines 5"),
    ],
)
def test_bad_options(script: str, options: list[str], message: str) -> None:
    assert message in refused(script, *options)


def cut_short(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-200])


def changed(archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(data)


def a_web_page(archive: Path) -> None:
    archive.write_text("<!DOCTYPE html><title>Google Drive - Virus scan warning</title>")


TRAIN_DE, TST2011_EN = "de-en/train.tags.de-en.de", "de-en/IWSLT14.TED.tst2011.de-en.en.xml"


def without_train(archive: Path) -> None:
    pack(archive, {name: text for name, text in german().items() if name != TRAIN_DE})


def with_file(name: str, text: str | bytes) -> Callable[[Path], None]:
    return lambda archive: pack(archive, {**german(), name: text}) and None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut_short, "de-en.tgz: not a whole archive (Compressed file ended before the end-of-stream marker"),
        (changed, "de-en.tgz: not a whole archive ("),
        (a_web_page, "de-en.tgz: not a whole archive (Not a gzipped file"),
        (without_train, f"de-en.tgz: the archive has no {TRAIN_DE}\n"),
        (with_file(TST2011_EN, "<doc>\nNothing.\n</doc>\n"), "tst2011.de-en.xml.en: no line with <seg id=...>"),
        (
            with_file(TST2011_EN, segments("One.")),
            "2011.de-en.xml.de has 2 lines, IWSLT14.TED.tst2011.de-en.xml.en has 1",
        ),
        (with_file(TRAIN_DE, "Nur eine.\n"), f"train.tags.de-en.en has {len(TRAIN) - 3} lines, train.tags.de-en.de"),
        (with_file(TRAIN_DE, "<talkid>1</talkid>\n"), "train.tags.de-en.de: the file is empty"),
        (with_file(TRAIN_DE, b"B\xfcrste\n"), "train.tags.de-en.de: line 1 is not UTF-8 (byte 0xfc at position 2)"),
    ],
)
def test_bad_archive(tmp_path: Path, archive: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(archive)
    assert message in refused(IWSLT14, "de-en", "--from", archive, "--out", tmp_path / "out")
    assert not rest(tmp_path / "out")


def test_the_archive_of_another_pair(tmp_path: Path) -> None:
    archive = pack(tmp_path / "de-en.tgz", spanish())
    message = refused(IWSLT14, "de-en", "--from", tmp_path, "--out", tmp_path / "out")
    assert f"{archive}: the archive has no de-en/train.tags.de-en.de and 11 more" in message


def test_a_folder_without_the_archive(tmp_path: Path) -> None:
    message = refused(IWSLT17, "en-zh", "--from", tmp_path, "--out", tmp_path / "out")
    assert f"--from: {tmp_path} has neither zh-en.tgz nor 2017-01-trnted.tgz" in message


def with_address(patch: pytest.MonkeyPatch, module: ModuleType, lang: str, address: str) -> None:
    """Let the archive of a pair be at another address."""
    release = module.__name__.split(".")[-1].upper()
    published = getattr(module, release)
    patch.setattr(module, release, dataclasses.replace(published, addresses={**published.addresses, lang: address}))


def test_download(tmp_path: Path, archive: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_address(monkeypatch, iwslt14, "de", f"{server}/de-en.tgz")
    monkeypatch.setattr(talks, "ROOT", tmp_path / "repository")
    out, whole = tmp_path / "repository" / "data" / "iwslt14_deen", archive.read_bytes()
    cut_short(archive)
    message = refused(IWSLT14, "de-en")
    assert "it is now de-en.tgz.broken, run the script again to download it" in message
    archive.write_bytes(whole)
    prepared(IWSLT14, "de-en")
    assert (out / "archives" / "de-en.tgz").read_bytes() == archive.read_bytes()
    assert prepared(IWSLT14, "en-de").count("done before") == 5


def test_no_download_says_where_the_archive_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_address(monkeypatch, iwslt17, "fr", "http://127.0.0.1:1/fr-en.tgz")
    message = refused(IWSLT17, "fr-en", "--out", tmp_path / "out")
    assert "cannot download http://127.0.0.1:1/fr-en.tgz (" in message
    assert "get 2017-01-trnted.tgz from https://wit3.fbk.eu/2017-01-b and pass it with --from FILE" in message


def test_the_addresses() -> None:
    assert iwslt14.IWSLT14.addresses == {
        "de": "http://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz",
        "es": "https://wit3.fbk.eu/archive/2014-01/texts/es/en/es-en.tgz",
    }
    site = "https://wit3.fbk.eu/archive/2017-01-trnted/texts"
    assert iwslt17.IWSLT17.addresses == {"fr": f"{site}/fr/en/fr-en.tgz", "zh": f"{site}/zh/en/zh-en.tgz"}


def test_without_jieba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """French does without it."""
    monkeypatch.setitem(sys.modules, "jieba", None)
    archive = pack(tmp_path / "zh-en.tgz", modern("zh-en", "我 {}"))
    message = refused(IWSLT17, "zh-en", "--from", archive, "--out", tmp_path / "out")
    assert "not installed: jieba; run make install" in message
    assert not (tmp_path / "out").exists()
    assert "has no fr-en/train.tags" in refused(IWSLT17, "fr-en", "--from", archive, "--out", tmp_path / "out")
