"""scripts/prepare_iwslt14.sh and prepare_iwslt17.sh, from stand-ins for the published archives to binarized data."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from fairseq.data import Dictionary
from fairseq.tasks.translation import load_langpair_dataset
from fairseq.tokenizer import tokenize_line
from recipes.data.prepared import read_prepared
from support.places import BIN
from support.prepare import content, lines, prepared, refused
from support.sources import TRAIN, german, modern, pack, spanish

IWSLT14, IWSLT17 = "prepare_iwslt14.sh", "prepare_iwslt17.sh"
STEPS = ("text", "tokens", "raw tok", "bpe", "bin")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return pack(tmp_path / "de-en.tgz", german())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """De-En, run to the end: the archive and the result."""
    folder = tmp_path_factory.mktemp("whole")
    archive = pack(folder / "de-en.tgz", german())
    assert "Next: scripts/train.sh configs/iwslt14_deen/rdrop.yaml" in prepared(
        IWSLT14, "de-en", "--from", archive, "--out", folder / "out", fairseq=True
    )
    return archive, folder / "out"


# De-En, as fairseq's prepare-iwslt14.sh makes it


def test_lines_that_fairseq_keeps(whole: tuple[Path, Path]) -> None:
    for lang, side in (("de", 1), ("en", 3)):
        kept = [line[side] for line in TRAIN if line[1] is not None and line[3] is not None]
        assert len(kept) == 50
        assert lines(whole[1] / "tok" / f"valid.{lang}") == [kept[22], kept[45]]
        assert lines(whole[1] / "tok" / f"train.{lang}") == [*kept[:22], *kept[23:45], *kept[46:]]


def test_order_and_tokens_of_the_test_set(whole: tuple[Path, Path]) -> None:
    tokens = {"de": ("aus", "das &amp; amp ; das &apos; s ."), "en": ("from", "that &amp; amp ; that &apos;s .")}
    for lang, (word, second) in tokens.items():
        parts = ["ted.dev2010", "tedx.dev2012", "ted.tst2010", "ted.tst2011", "ted.tst2012"]
        expected = [line for part in parts for line in (f"{word} {part} .", second)]
        assert lines(whole[1] / "tok" / f"test.{lang}") == expected


def test_raw_text_belongs_to_the_tokens(whole: tuple[Path, Path]) -> None:
    raw = whole[1] / "raw"
    assert lines(raw / "train.de")[:3] == [
        "Al Gore: Übers Klima",
        'Er sagt "so" & [kurz].',
        "Am 3. Mai, z.B. in den U.S.A.",
    ]
    assert lines(raw / "valid.en") == ["This is sentence 17.", "This is sentence 40."]
    assert lines(raw / "test.de")[:2] == ["Aus TED.dev2010.", "Das &amp; das's."]
    for name in ("train", "valid", "test"):
        assert len(lines(raw / f"{name}.de")) == len(lines(whole[1] / "bpe" / f"{name}.en"))


def test_codes_are_those_of_subword_nmt(whole: tuple[Path, Path]) -> None:
    tok, bpe = whole[1] / "tok", whole[1] / "bpe"
    subword_nmt = [str(BIN / "subword-nmt")]
    both = (tok / "train.de").read_bytes() + (tok / "train.en").read_bytes()
    learned = subprocess.run([*subword_nmt, "learn-bpe", "-s", "40"], input=both, capture_output=True, check=True)
    assert (bpe / "codes").read_bytes() == learned.stdout
    applied = subprocess.run(
        [*subword_nmt, "apply-bpe", "-c", str(bpe / "codes")],
        input=(tok / "valid.en").read_bytes(),
        capture_output=True,
        check=True,
    )
    assert (bpe / "valid.en").read_bytes() == applied.stdout


@pytest.mark.parametrize(("src", "tgt"), [("de", "en"), ("en", "de")])
def test_both_directions_train_from_one_folder(whole: tuple[Path, Path], src: str, tgt: str) -> None:
    data = whole[1] / "bin"
    dictionary = Dictionary.load(str(data / f"dict.{src}.txt"))
    assert dictionary == Dictionary.load(str(data / f"dict.{tgt}.txt"))
    pairs = load_langpair_dataset(
        str(data), "test", src, dictionary, tgt, dictionary,
        combine=False, dataset_impl=None, upsample_primary=1, left_pad_source=True, left_pad_target=False,
        max_source_positions=1024, max_target_positions=1024,
    )  # fmt: skip
    assert len(pairs) == 10
    for side, lang in (("source", src), ("target", tgt)):
        subwords = lines(whole[1] / "bpe" / f"test.{lang}")[3]
        assert pairs[3][side].tolist() == dictionary.encode_line(subwords, add_if_not_exist=False).tolist()


def test_dictionary_is_the_one_that_fairseq_makes(whole: tuple[Path, Path], tmp_path: Path) -> None:
    dictionary = Dictionary()
    for lang in ("de", "en"):
        Dictionary.add_file_to_dictionary(str(whole[1] / "bpe" / f"train.{lang}"), dictionary, tokenize_line, 1)
    dictionary.finalize(padding_factor=8)
    dictionary.save(str(tmp_path / "dict.txt"))
    assert (whole[1] / "bin" / "dict.de.txt").read_bytes() == (tmp_path / "dict.txt").read_bytes()


def test_settings(whole: tuple[Path, Path]) -> None:
    archive, out = whole
    assert json.loads((out / "settings.json").read_text()) == {
        "script": "prepare_iwslt14.sh",
        "options": {"pair": "de-en", "bpe": 40, "tokens": "sacremoses"},
        "testsets": ["test"],
        "lowercase": True,
        "escaped": True,
        "sources": {"de-en.tgz": hashlib.sha256(archive.read_bytes()).hexdigest()},
    }


def test_the_other_direction_finds_it_done(whole: tuple[Path, Path]) -> None:
    before = content(whole[1])
    printed = prepared(IWSLT14, "en-de", "--from", whole[0], "--out", whole[1])
    assert printed.count("done before") == len(STEPS)
    assert "configs/iwslt14_ende/rdrop.yaml" in printed
    assert content(whole[1]) == before


# Other archives, pairs and options


def test_the_archive_of_the_year(whole: tuple[Path, Path], tmp_path: Path) -> None:
    inner = {f"texts/{lang}/en/{lang}-en.tgz": pack(tmp_path / "in" / f"{lang}-en.tgz", files).read_bytes()
             for lang, files in (("es", spanish()), ("de", german()))}  # fmt: skip
    pack(tmp_path / "2014-01.tgz", {f"2014-01/{name}": data for name, data in inner.items()})
    prepared(IWSLT14, "de-en", "--from", tmp_path, "--out", tmp_path / "de")
    assert content(tmp_path / "de" / "bpe") == content(whole[1] / "bpe")
    prepared(IWSLT14, "en-es", "--from", tmp_path / "2014-01.tgz", "--out", tmp_path / "es")
    assert lines(tmp_path / "es" / "tok" / "test.es") == [
        f"¿ es la frase ted.{part} {n} ?" for part in ("dev2010", "tst2010", "tst2011", "tst2012") for n in (1, 2)
    ]
    assert lines(tmp_path / "es" / "tok" / "valid.en") == ["this is sentence 22 .", "this is sentence 45 ."]


def test_case_can_stay(tmp_path: Path, archive: Path) -> None:
    out = tmp_path / "out"
    prepared(IWSLT14, "de-en", "--from", archive, "--out", out, "--cased")
    assert lines(out / "tok" / "train.de")[0] == "Al Gore : Übers Klima"
    assert not read_prepared(out).lowercase
    assert f"{out} was made with lowercase: no, not with lowercase: yes" in refused(
        IWSLT14, "de-en", "--from", archive, "--out", out
    )


def test_french(tmp_path: Path) -> None:
    archive, out = pack(tmp_path / "fr-en.tgz", modern("fr-en", "L'idée {} de l'homme.")), tmp_path / "out"
    printed = prepared(IWSLT17, "en-fr", "--from", archive, "--out", out)
    assert "configs/iwslt17_enfr/rdrop.yaml" in printed
    assert lines(out / "tok" / "train.fr")[:2] == [f"l&apos; idée {n} de l&apos; homme ." for n in (0, 1)]
    assert read_prepared(out).testsets == ["test", "tst2013", "tst2014", "tst2015"]
    assert lines(out / "raw" / "tst2014.en") == ["This is sentence TED.tst2014 1.", "This is sentence TED.tst2014 2."]
    assert len(lines(out / "tok" / "test.en")) == 8


def test_chinese(tmp_path: Path) -> None:
    archive = pack(tmp_path / "zh-en.tgz", modern("zh-en", "我来到北京清华大学 & {}。"))
    out = tmp_path / "out"
    prepared(IWSLT17, "zh-en", "--from", archive, "--out", out, fairseq=True)
    assert lines(out / "tok" / "train.zh")[0] == "我 来到 北京 清华大学 &amp; 0 。"
    assert lines(out / "raw" / "train.zh")[0] == "我来到北京清华大学 & 0。"
    assert {path.name for path in (out / "bpe").glob("codes*")} == {"codes.zh", "codes.en"}
    chinese, english = ({line.split()[0] for line in lines(out / "bin" / f"dict.{lang}.txt")} for lang in ("zh", "en"))
    assert "清华大学" in chinese and "清华大学" not in english
    assert "sentence" in english and "sentence" not in chinese
    assert "bpe/tst2015.zh: 2 sents" in (out / "bin" / "preprocess.log").read_text()


# Moses' own scripts


def moses(folder: Path, **scripts: str) -> Path:
    """Write a checkout of Moses whose Perl scripts are these."""
    (folder / "scripts" / "tokenizer").mkdir(parents=True)
    for name, code in scripts.items():
        (folder / "scripts" / "tokenizer" / f"{name}.perl").write_text(code)
    return folder


@pytest.mark.skipif(not shutil.which("perl"), reason="needs perl")
def test_the_scripts_of_a_checkout_of_moses(tmp_path: Path, archive: Path) -> None:
    checkout = moses(
        tmp_path / "mosesdecoder",
        tokenizer='my $o = "@ARGV"; while (<STDIN>) { chomp; print "$_ <$o>\\n" }',
        lowercase='while (<STDIN>) { chomp; print uc($_), "!\\n" }',
    )
    out = tmp_path / "out"
    options = ("--from", archive, "--out", out, "--moses", checkout)
    prepared(IWSLT14, "de-en", *options)
    assert lines(out / "tokens" / "test.de")[0] == "Aus TED.dev2010. <-q -l de>"
    assert lines(out / "tok" / "test.en")[0] == "FROM TED.DEV2010. <-Q -L EN>!"
    assert read_prepared(out).options["tokens"] == "Perl scripts of Moses"


@pytest.mark.skipif(not shutil.which("perl"), reason="needs perl")
@pytest.mark.parametrize(
    ("code", "message"),
    [('die "no such language\\n"', "tokenizer.perl: no such language"), ("<STDIN>;", "tokenizer.perl: 0 lines for ")],
)
def test_a_failing_perl_script_is_named(tmp_path: Path, archive: Path, code: str, message: str) -> None:
    options = ("--from", archive, "--out", tmp_path / "out", "--moses", moses(tmp_path / "moses", tokenizer=code))
    assert message in refused(IWSLT14, "de-en", *options)
    assert not (tmp_path / "out" / "tokens").exists()


# Stopped in the middle


def until(whole: tuple[Path, Path], out: Path, step: str) -> list[object]:
    """Copy the result without the step and those after it, and return the options that go on there."""
    shutil.copytree(whole[1], out)
    for later in STEPS[STEPS.index(step) :]:
        for folder in later.split():
            shutil.rmtree(out / folder)
    return ["de-en", "--from", whole[0], "--out", out]


def rest(out: Path, step: str) -> bool:
    """Whether a folder of the step or of a later one is there."""
    return any((out / folder).exists() for later in STEPS[STEPS.index(step) :] for folder in later.split())


@pytest.mark.parametrize("step", STEPS)
def test_full_disk_in_every_step(whole: tuple[Path, Path], tmp_path: Path, step: str) -> None:
    limit = 0 if step == "bin" else 1
    message = refused(IWSLT14, *until(whole, tmp_path / "out", step), limit=limit, fairseq=True)
    assert "File too large" in message
    assert not rest(tmp_path / "out", step)


def test_a_stopped_run_goes_on(whole: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = until(whole, out, "raw tok")
    (out / "raw").mkdir()  # it had its name, tok had not yet
    (out / ".prepare.a1b2c3d4.part").mkdir()
    assert prepared(IWSLT14, *options).count("done before") == 2
    for folder in ("raw", "tok", "bpe"):
        assert content(out / folder) == content(whole[1] / folder)
    assert not list(out.glob(".*.part"))
