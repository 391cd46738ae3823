"""scripts/prepare_wmt14.sh, from stand-ins for the published archives to binarized data."""

import gzip
import shutil
from pathlib import Path

import pytest
from recipes.data import wmt14
from recipes.data.prepared import read_prepared
from support.prepare import content, lines, prepared, refused
from support.sources import ADDRESSES, CRAWL, EUROPARL, GIGA, NEWS, PUNCTUATED, TEST, pack, write_wmt

SCRIPT = "prepare_wmt14.sh"
MERGES = ("--bpe", 150)  # enough for the file of codes to outgrow a KiB
STEPS = ("text", "tokens", "codes", "raw tok bpe", "bin")


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    return write_wmt(tmp_path / "archives")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Prepare En-De; return the archives, the result and what was printed."""
    folder = tmp_path_factory.mktemp("whole")
    archives = write_wmt(folder / "archives")
    return (
        archives,
        folder / "out",
        prepared(SCRIPT, "en-de", "--from", archives, "--out", folder / "out", *MERGES, fairseq=True),
    )


def test_english_german(whole: tuple[Path, Path, str]) -> None:
    _, out, printed = whole
    for lang in ("en", "de"):
        tokens = lines(out / "tokens" / f"train.{lang}")
        assert tokens[0] == PUNCTUATED[lang][1]
        assert len(tokens) == 208
        assert len(lines(out / "bpe" / f"train.{lang}")) == 207
    assert lines(out / "raw" / "valid.de") == ["Zeile 98 von Europarl ist hier.", "Zeile 29 von News ist hier."]
    assert lines(out / "tok" / "valid.en") == ["Line 98 of Europarl is here .", "Line 29 of News is here ."]
    assert lines(out / "text" / "train.en")[171] == "caf\ufffd is open"
    assert "news-commentary-v9.de-en: 1 lines were not UTF-8" in printed
    assert "train: 207 of 208 pairs kept" in printed
    assert "configs/wmt14_ende/rdrop.yaml" in printed


def test_the_test_set_is_not_normalized(whole: tuple[Path, Path, str]) -> None:
    out = whole[1]
    assert lines(out / "tok" / "test.en") == [
        "The “ well @-@ known ” U.S. plan\u200bfails …".replace("\u200b", " \u200b "),
        "It &apos;s en &amp; amp ; test @-@ set .",
    ]
    assert lines(out / "raw" / "test.de")[1] == "It's de &amp; test-set."
    assert len(lines(out / "bpe" / "test.de")) == 2


def test_layout(whole: tuple[Path, Path, str]) -> None:
    out = whole[1]
    assert {path.name for path in out.iterdir()} == {
        *("text", "tokens", "codes", "raw", "tok", "bpe", "bin", "settings.json", ".prepare.lock"),
    }
    assert {path.name for path in (out / "raw").iterdir()} == {"valid.en", "valid.de", "test.en", "test.de"}
    assert (out / "bin" / "dict.de.txt").read_bytes() == (out / "bin" / "dict.en.txt").read_bytes()
    assert (out / "bin" / "train.en-de.en.bin").exists()
    assert (out / "bpe" / "codes").read_bytes() == (out / "codes" / "codes").read_bytes()
    made = read_prepared(out)
    assert (made.script, made.testsets, made.lowercase, made.escaped) == (SCRIPT, ["test"], False, True)
    assert made.options == {"pair": "en-de", "bpe": 150, "tokens": "sacremoses"}
    assert list(made.sources) == [EUROPARL, CRAWL, NEWS, TEST]


def test_english_french(tmp_path: Path, archives: Path) -> None:
    out = tmp_path / "out"
    printed = prepared(SCRIPT, "en-fr", "--from", archives, "--out", out)
    assert lines(out / "tokens" / "train.fr")[0] == PUNCTUATED["fr"][1]
    # Europarl 130, Crawl 40, News 40, UN 20: the 1333rd pair is Giga's number 1,102 counted from 0.
    assert lines(out / "raw" / "valid.fr") == ["La ligne 1102 de Giga est ici."]
    assert lines(out / "tok" / "valid.en") == ["Line 1102 of Giga is here ."]
    assert len(lines(out / "text" / "train.fr")) == 1349
    assert "configs/wmt14_enfr/rdrop.yaml" in printed


def test_download_goes_on(tmp_path: Path, archives: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third archive is missing at first; what came is not fetched again."""
    assert {Path(place).name: Path(place).parent.name for place in (*wmt14.CORPORA["fr"], wmt14.TEST)} == ADDRESSES
    monkeypatch.setattr(wmt14, "SITE", server)
    for name, folder in ADDRESSES.items():
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.copy(archives / name, tmp_path / folder)
    (tmp_path / "wmt14" / NEWS).rename(tmp_path / NEWS)
    out = tmp_path / "out"
    message = refused(SCRIPT, "en-de", "--out", out)
    assert f"cannot download {server}/wmt14/{NEWS} (HTTP Error 404: File not found); where the file is" in message
    (tmp_path / NEWS).rename(tmp_path / "wmt14" / NEWS)
    (tmp_path / "wmt13" / EUROPARL).unlink()
    prepared(SCRIPT, "en-de", "--out", out)
    assert {file.name for file in (out / "archives").iterdir()} == {EUROPARL, CRAWL, NEWS, TEST}


def until(whole: tuple[Path, Path, str], out: Path, step: str) -> list[object]:
    """Copy the result without the step and those after it, and return the options that go on there."""
    shutil.copytree(whole[1], out)
    for later in STEPS[STEPS.index(step) :]:
        for folder in later.split():
            shutil.rmtree(out / folder)
    return ["en-de", "--from", whole[0], "--out", out, *MERGES]


@pytest.mark.parametrize("step", STEPS[:4])
def test_full_disk(whole: tuple[Path, Path, str], tmp_path: Path, step: str) -> None:
    out = tmp_path / "out"
    assert "File too large" in refused(SCRIPT, *until(whole, out, step), limit=1)
    assert not any((out / folder).exists() for later in STEPS[STEPS.index(step) :] for folder in later.split())


def test_a_stopped_run_goes_on(whole: tuple[Path, Path, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = until(whole, out, "codes")
    assert prepared(SCRIPT, *options).count("done before") == 2
    for folder in ("codes", "raw", "tok", "bpe"):
        assert content(out / folder) == content(whole[1] / folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["de-en"], "invalid choice: 'de-en' (choose from 'en-de', 'en-fr')"),
        ([], "the following arguments are required: PAIR (en-de en-fr)"),
        (["en-de", "--from", __file__], f"--from: there is no folder '{__file__}'"),
        (["en-de", "--cased"], "unrecognized arguments: --cased"),
    ],
)
def test_bad_options(options: list[str], message: str) -> None:
    assert message in refused(SCRIPT, *options)


CUT_SHORT = gzip.compress(b"x" * 999)[:-9]


def sides(name: str, english: str, german: str, one: str = "en", two: str = "de") -> dict[str, str]:
    return {name.format(one): english, name.format(two): german}


@pytest.mark.parametrize(
    ("pair", "name", "files", "message"),
    [
        ("en-de", NEWS, None, f"has no {NEWS}"),
        ("en-de", CRAWL, {"commoncrawl.de-en.de": "x\n"}, f"{CRAWL}: the archive has no commoncrawl.de-en.en"),
        ("en-fr", GIGA, {"giga-fren.release2.fixed.en.gz": CUT_SHORT}, f"{GIGA}: not a whole archive ("),
        (
            "en-de",
            TEST,
            sides("newstest2014-deen-{}.sgm", "x\n", "y\n", "src.en", "ref.de"),
            "sgm.en: no line with <seg id=",
        ),
        (
            "en-de",
            EUROPARL,
            sides("training/europarl-v7.de-en.{}", "x\ny\n", "x\n"),
            "europarl-v7.de-en.en has 2 lines, eur",
        ),
    ],
)
def test_bad_archive(
    tmp_path: Path, archives: Path, pair: str, name: str, files: dict[str, str | bytes] | None, message: str
) -> None:
    (archives / name).unlink()
    if files:
        pack(archives / name, files)
    assert message in refused(SCRIPT, pair, "--from", archives, "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "text").exists()
