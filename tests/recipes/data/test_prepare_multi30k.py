"""scripts/prepare_multi30k.sh, from made-up captions to binarized data, and a second run."""

import functools
import gzip
import hashlib
import shutil
from pathlib import Path

import pytest
from fairseq.data.data_utils import load_indexed_dataset
from recipes.data import multi30k
from recipes.data.prepared import read_prepared
from support import prepare
from support.prepare import content
from support.sources import CAPTIONS, ODD_LINES, write_multi30k

SCRIPT = "prepare_multi30k.sh"
command, run = functools.partial(prepare.command, SCRIPT), functools.partial(prepare.run, SCRIPT)
refused, prepared = functools.partial(prepare.refused, SCRIPT), functools.partial(prepare.prepared, SCRIPT)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_multi30k(tmp_path / "source")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """One uninterrupted run of the script: its source, its result and what it printed."""
    folder = tmp_path_factory.mktemp("whole")
    source = write_multi30k(folder / "source")
    printed = prepare.prepared_by_script(SCRIPT, "--from", source, "--out", folder / "out")
    return source, folder / "out", printed


@pytest.fixture
def published(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the published form of the source, whose checksums are known."""
    folder = tmp_path / "published"
    folder.mkdir()
    sums = {}
    extra = {
        f"{name}.{lang}": source / f"valid.{lang}"
        for name in ("test_2017_mscoco", "test_2018_flickr")
        for lang in ("de", "en")
    }
    for name, path in {**{path.name: path for path in source.iterdir()}, **extra}.items():
        packed = folder / f"{name.replace('valid', 'val')}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        sums[packed.name] = hashlib.sha256(packed.read_bytes()).hexdigest()
    monkeypatch.setattr(multi30k, "CHECKSUMS", sums)
    return folder


# From raw text to binarized data


def test_layout(whole: tuple[Path, Path, str]) -> None:
    source, out, printed = whole
    binarized = {
        f"{split}.de-en.{lang}.{end}"
        for split in ("train", "valid", "test", "test1")
        for lang in ("de", "en")
        for end in ("bin", "idx")
    }
    texts = {f"{name}.{lang}" for name in CAPTIONS for lang in ("de", "en")}
    assert {path.name for path in out.iterdir()} == {
        "raw",
        "tok",
        "bpe",
        "bin",
        "settings.json",
        ".prepare.lock",
    }
    assert {path.name for path in (out / "raw").iterdir()} == texts
    assert {path.name for path in (out / "tok").iterdir()} == texts
    assert {path.name for path in (out / "bpe").iterdir()} == texts | {"codes"}
    assert {path.name for path in (out / "bin").iterdir()} == binarized | {
        "dict.de.txt",
        "dict.en.txt",
        "preprocess.log",
    }
    assert (out / "bin" / "dict.de.txt").read_bytes() == (out / "bin" / "dict.en.txt").read_bytes()
    made = read_prepared(out)
    assert made.script == SCRIPT and made.testsets == ["test_2016_flickr", "test_2017_flickr"]
    assert made.options == {"pair": "de-en", "train-lines": "all", "bpe": 40}
    assert list(made.sources) == [f"{name}.{lang}" for name in CAPTIONS for lang in ("de", "en")]
    assert made.sources["train.de"] == hashlib.sha256((source / "train.de").read_bytes()).hexdigest()
    assert f"The data is in {out}/bin" in printed
    assert "scripts/train.sh configs/multi30k_deen/rdrop.yaml" in printed


def test_raw_is_the_source(whole: tuple[Path, Path, str]) -> None:
    source, out, _ = whole
    assert content(out / "raw") == content(source)


def test_each_line_stays_one_line(whole: tuple[Path, Path, str]) -> None:
    _, out, _ = whole
    lines = (out / "tok" / "train.de").read_text(encoding="utf-8").split("\n")
    # tokenizer.perl deletes control characters that are no white space for it.
    assert lines[: len(ODD_LINES)] == ["einHund" if "\x1c" in line else "ein Hund" for line in ODD_LINES]
    assert lines[len(ODD_LINES)] == "Der Ball ( Nr. 6 ) sieht den Mann & lacht ."
    for name in CAPTIONS:
        for lang in ("de", "en"):
            count = 60 if name == "train" else 12
            assert (out / "bpe" / f"{name}.{lang}").read_bytes().count(b"\n") == count
            assert f"bpe/{name}.{lang}: {count} sents" in (out / "bin" / "preprocess.log").read_text()


def test_train_lines_and_pair(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "an, out"
    printed = prepared("--from", source, "--pair", "en-de", "--train-lines", "20", "--out", out)
    for lang in ("de", "en"):
        head = (source / f"train.{lang}").read_bytes().split(b"\n")[:20]
        assert (out / "raw" / f"train.{lang}").read_bytes() == b"\n".join(head) + b"\n"
        assert (out / "raw" / f"valid.{lang}").read_bytes() == (source / f"valid.{lang}").read_bytes()
    assert "configs/multi30k_ende/rdrop.yaml" in printed


def test_published_form_equals_uncompressed(
    whole: tuple[Path, Path, str], tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multi30k, "ROOT", tmp_path / "repository")
    assert "no checksum" not in prepared("--from", published)
    out = tmp_path / "repository" / "data" / "multi30k_deen"
    made, expected = content(out / "bpe"), content(whole[1] / "bpe")
    assert {name: made[name] for name in expected} == expected
    assert read_prepared(out).testsets == [*CAPTIONS[2:], "test_2017_mscoco", "test_2018_flickr"]
    assert read_prepared(out).sources.items() <= multi30k.CHECKSUMS.items()


def test_download(tmp_path: Path, published: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi30k, "ADDRESS", f"{server}/{published.name}")
    out = tmp_path / "out"
    prepared("--out", out)
    assert (out / "raw" / "valid.de").read_bytes() == (tmp_path / "source" / "valid.de").read_bytes()
    assert len(read_prepared(out).testsets) == 4
    shutil.rmtree(published)
    assert prepared("--out", out).count("done before") == 4


def test_a_checksum_is_known_for_every_file_of_every_pair() -> None:
    names = [name.replace("valid", "val") for name in (*multi30k.REQUIRED, *multi30k.OPTIONAL)]
    langs = {lang for pair in multi30k.PAIRS for lang in pair.split("-")}
    assert set(multi30k.CHECKSUMS) == {f"{name}.{lang}.gz" for name in names for lang in langs}


def sentences(folder: Path, split: str, lang: str) -> list[list[int]]:
    """Return the words of a binarized text."""
    data = load_indexed_dataset(f"{folder}/{split}.de-en.{lang}", combine=False)
    return [data[i].tolist() for i in range(len(data))]


def test_both_ways(whole: tuple[Path, Path, str], tmp_path: Path) -> None:
    """After a preparation without it: the pairs, then the pairs the other way round, with the same dictionary."""
    out = tmp_path / "out"
    shutil.copytree(whole[1], out)
    before = content(out)
    options = ("--from", whole[0], "--out", out)
    assert prepared(*options, "--both-ways", fairseq=True).count("done before") == 4
    made = content(out)
    assert {name: made[name] for name in before} == before
    one_way, both = out / "bin", out / "both"
    assert both.joinpath("dict.de.txt").read_bytes() == one_way.joinpath("dict.de.txt").read_bytes()
    for lang, other in (("de", "en"), ("en", "de")):
        for split in ("train", "valid"):
            assert sentences(both, split, lang) == sentences(one_way, split, lang) + sentences(one_way, split, other)
        for split in ("test", "test1"):
            assert sentences(both, split, lang) == sentences(one_way, split, lang)
    assert prepared(*options, "--both-ways").count("done before") == 5
    assert prepared(*options).count("done before") == 4 and both.is_dir()
    shutil.rmtree(one_way)
    prepared(*options)
    assert not both.exists()  # it was made of what there was before


# A second run, a killed run


def test_second_run_skips(whole: tuple[Path, Path, str]) -> None:
    source, out, _ = whole
    before = content(out)
    for options in (["--from", source], []):
        assert prepared("--out", out, *options).count("done before") == 4
    assert content(out) == before


@pytest.mark.parametrize(
    ("options", "made", "now"),
    [
        (["--bpe", "41"], "bpe: 40", "bpe: 41"),
        (["--train-lines", "20"], "train-lines: all", "train-lines: 20"),
        (["--pair", "en-de"], "pair: de-en", "pair: en-de"),
    ],
)
def test_other_settings_are_refused(whole: tuple[Path, Path, str], options: list[str], made: str, now: str) -> None:
    source, out, _ = whole
    before = content(out)
    assert f"was made with {made}, not with {now}; use another --out" in refused(
        "--from", source, "--out", out, *options
    )
    assert content(out) == before


def test_other_text_is_refused(whole: tuple[Path, Path, str], source: Path) -> None:
    with (source / "train.de").open("a") as file:
        file.write("neu\n")
    assert "was made with train.de: " in refused("--from", source, "--out", whole[1])


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, source: Path) -> None:
    precious = tmp_path / "home" / "bin" / "program"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    assert "holds files that no prepare script made" in refused("--from", source, "--out", tmp_path / "home")
    assert content(tmp_path / "home") == {"bin/program": b"mine"}
