"""scripts/prepare_wmt14.sh, from stand-ins for the published archives to binarized data."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.prepare import (
    SCRIPTS,
    at_work,
    command,
    content,
    environment,
    interrupted,
    lines,
    pack,
    prepared,
    refused,
    stub_fairseq,
)

SCRIPT = "prepare_wmt14.sh"
MERGES = ("--bpe", 150)  # enough for the file of codes to outgrow a KiB
STEPS = ("text", "tokens", "codes", "raw tok bpe", "bin")
SITE = "http://statmt.org"
EUROPARL, CRAWL, NEWS = (f"training-parallel-{name}.tgz" for name in ("europarl-v7", "commoncrawl", "nc-v9"))
UN, GIGA, TEST = "training-parallel-un.tgz", "training-giga-fren.tar", "test-full.tgz"
ADDRESSES = {EUROPARL: "wmt13", CRAWL: "wmt13", NEWS: "wmt14", UN: "wmt13", GIGA: "wmt10", TEST: "wmt14"}

# A pair each of Europarl that shows what is done to training text, and its tokens: punctuation is normalized, what does
# not print becomes a space, hyphens are split.
ODD = {
    "en": ("The \u201cwell-known\u201d U.S. plan\u200bfails\u2026",
           "The &quot; well @-@ known &quot; U.S. plan fails ..."),
    "de": ("Der \u201ebekannte\u201c Plan \u2013 der US-Plan \u2013 scheitert.",
           "Der &quot; bekannte &quot; Plan - der US @-@ Plan - scheitert ."),
    "fr": ("Le plan \u00ab\u00a0connu\u00a0\u00bb a-t-il \u00e9chou\u00e9\u00a0?",
           "Le plan &quot; connu &quot; a @-@ t @-@ il échoué ?"),
}  # fmt: skip
WORDS = {"en": "Line {} of {} is here.", "de": "Zeile {} von {} ist hier.", "fr": "La ligne {} de {} est ici."}


def corpus(lang: str, name: str, count: int) -> str:
    return "".join(f"{WORDS[lang].format(number, name)}\n" for number in range(count))


def newstest(lang: str) -> str:
    """Return a set of newstest2014: test sets are not normalized."""
    return f'<srcset setid="newstest2014" srclang="any">\n<doc>\n<p>\n<seg id="1">{ODD[lang][0]}</seg>\n' + (
        f'<seg id="2">It’s {lang} &amp; test-set.</seg>\n</p>\n</doc>\n</srcset>\n'
    )


def both(names: str, make: Callable[[str], str], others: tuple[str, ...] = ("de", "fr")) -> dict[str, str | bytes]:
    """Return files for {lang}-en: names holds {pair} and {lang}."""
    return {names.format(pair=f"{other}-en", lang=lang): make(lang) for other in others for lang in (other, "en")}


def write(folder: Path) -> Path:
    """Write the published archives: 130, 40 and 40 pairs, for French also 20 and 1,120."""
    folder.mkdir(parents=True, exist_ok=True)
    europarl = both(
        "training/europarl-v7.{pair}.{lang}", lambda lang: f"{ODD[lang][0]}\n{corpus(lang, 'Europarl', 129)}"
    )
    pack(folder / EUROPARL, europarl)
    pack(folder / CRAWL, {**both("commoncrawl.{pair}.{lang}", lambda lang: corpus(lang, "Crawl", 40)), "README": "?\n"})
    # The second pair has a side that is too long, the third a line that is not UTF-8.
    news = both("training/news-commentary-v9.{pair}.{lang}", lambda lang: corpus(lang, "News", 40))
    for name in news:
        rows = news[name].encode().split(b"\n")  # type: ignore[union-attr]
        rows[1] = b"more " * (300 if name.endswith(".en") else 3)
        rows[2] = b"caf\xe9 is open" if name.endswith(".en") else rows[2]
        news[name] = b"\n".join(rows)
    pack(folder / NEWS, news)
    pack(folder / UN, both("un/undoc.2000.{pair}.{lang}", lambda lang: corpus(lang, "UN", 20), ("fr",)))
    pack(folder / GIGA, {f"giga-fren.release2.fixed.{lang}.gz": gzip.compress(corpus(lang, "Giga", 1120).encode())
                         for lang in ("en", "fr")})  # fmt: skip
    sides = (("src", "en"), ("ref", "de"), ("src", "de"), ("ref", "en"))
    tests = {f"newstest2014-deen-{kind}.{lang}.sgm": newstest(lang) for kind, lang in sides}
    tests |= {"newstest2014-fren-src.en.sgm": newstest("en"), "newstest2014-fren-ref.fr.sgm": newstest("fr")}
    pack(folder / TEST, {f"test-full/{name}": text for name, text in tests.items()})
    return folder


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    return write(tmp_path / "archives")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """En-De, run to the end: the archives, the result and what was printed."""
    folder = tmp_path_factory.mktemp("whole")
    archives = write(folder / "archives")
    return archives, folder / "out", prepared(SCRIPT, "en-de", "--from", archives, "--out", folder / "out", *MERGES)


def test_english_german(whole: tuple[Path, Path, str]) -> None:
    _, out, printed = whole
    for lang in ("en", "de"):
        tokens = lines(out / "tokens" / f"train.{lang}")
        assert tokens[0] == ODD[lang][1]
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
        *("text", "tokens", "codes", "raw", "tok", "bpe", "bin", "settings", "testsets", ".prepare.lock"),
    }
    assert {path.name for path in (out / "raw").iterdir()} == {"valid.en", "valid.de", "test.en", "test.de"}
    assert (out / "bin" / "dict.de.txt").read_bytes() == (out / "bin" / "dict.en.txt").read_bytes()
    assert (out / "bin" / "train.en-de.en.bin").exists()
    assert (out / "bpe" / "codes").read_bytes() == (out / "codes" / "codes").read_bytes()
    settings = lines(out / "settings")
    assert settings[0] == "script: prepare_wmt14.sh"
    assert settings[1:6] == ["pair: en-de", "lowercase: no", "escaped: yes", "bpe: 150", "tokens: sacremoses"]
    assert [line.split(":")[0] for line in settings[6:]] == [EUROPARL, CRAWL, NEWS, TEST]


def test_english_french(tmp_path: Path, archives: Path) -> None:
    out = tmp_path / "out"
    printed = prepared(SCRIPT, "en-fr", "--from", archives, "--out", out, PYTHONPATH=stub_fairseq(tmp_path))
    assert lines(out / "tokens" / "train.fr")[0] == ODD["fr"][1]
    # Europarl 130, Crawl 40, News 40, UN 20: the 1333rd pair is Giga's number 1,102 counted from 0.
    assert lines(out / "raw" / "valid.fr") == ["La ligne 1102 de Giga est ici."]
    assert lines(out / "tok" / "valid.en") == ["Line 1102 of Giga is here ."]
    assert len(lines(out / "text" / "train.fr")) == 1349
    assert "configs/wmt14_enfr/rdrop.yaml" in printed


def test_download_goes_on(tmp_path: Path, archives: Path, server: str) -> None:
    """The third archive is missing at first; what came is not fetched again."""
    scripts = tmp_path / "repository" / "scripts"
    shutil.copytree(SCRIPTS, scripts)
    script = scripts / SCRIPT
    script.write_text(script.read_text().replace(SITE, server))
    for name, folder in ADDRESSES.items():
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.copy(archives / name, tmp_path / folder)
    (tmp_path / "wmt14" / NEWS).rename(tmp_path / NEWS)
    out, path = tmp_path / "out", stub_fairseq(tmp_path)
    message = refused(SCRIPT, "en-de", "--out", out, scripts=scripts, PYTHONPATH=path)
    assert f"cannot download {server}/wmt14/{NEWS} (HTTP Error 404: File not found); where the archives are" in message
    (tmp_path / NEWS).rename(tmp_path / "wmt14" / NEWS)
    (tmp_path / "wmt13" / EUROPARL).unlink()
    prepared(SCRIPT, "en-de", "--out", out, scripts=scripts, PYTHONPATH=path)
    assert {file.name for file in (out / "archives").iterdir()} == {EUROPARL, CRAWL, NEWS, TEST}


def until(whole: tuple[Path, Path, str], out: Path, step: str) -> list[object]:
    """Copy the result without the step and those after it, and return the options that go on there."""
    shutil.copytree(whole[1], out)
    for later in STEPS[STEPS.index(step) :]:
        for folder in later.split():
            shutil.rmtree(out / folder)
    return ["en-de", "--from", whole[0], "--out", out, *MERGES]


@pytest.mark.parametrize("step", STEPS)
def test_interrupted_in_every_step(whole: tuple[Path, Path, str], tmp_path: Path, step: str) -> None:
    out = tmp_path / "out"
    interrupted(command(SCRIPT, *until(whole, out, step)), environment(), lambda: at_work(out))
    assert not any((out / folder).exists() for later in STEPS[STEPS.index(step) :] for folder in later.split())


@pytest.mark.parametrize("step", STEPS[:4])
def test_full_disk(whole: tuple[Path, Path, str], tmp_path: Path, step: str) -> None:
    out = tmp_path / "out"
    assert "File too large" in refused(SCRIPT, *until(whole, out, step), limit=1)
    assert not any((out / folder).exists() for later in STEPS[STEPS.index(step) :] for folder in later.split())


def test_a_stopped_run_goes_on(whole: tuple[Path, Path, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = until(whole, out, "codes")
    assert prepared(SCRIPT, *options, PYTHONPATH=stub_fairseq(tmp_path)).count("done before") == 2
    for folder in ("codes", "raw", "tok", "bpe"):
        assert content(out / folder) == content(whole[1] / folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["de-en"], "unknown pair 'de-en'; there are en-de en-fr"),
        ([], "no pair given; there are en-de en-fr"),
        (["en-de", "--from", __file__], f"--from: '{__file__}' is no folder"),
        (["en-de", "--cased"], "--cased: case is kept here anyway"),
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
