"""scripts/prepare_iwslt14.sh and prepare_iwslt17.sh, from stand-ins for the published archives to binarized data."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fairseq.data import Dictionary
from fairseq.tasks.translation import load_langpair_dataset
from fairseq.tokenizer import tokenize_line
from support.prepare import (
    BIN,
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

IWSLT14, IWSLT17 = "prepare_iwslt14.sh", "prepare_iwslt17.sh"
STEPS = ("text", "tokens", "raw tok", "bpe", "bin")
PARTS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
Files = dict[str, str]

# What stands in train.tags.de-en of a language, and what fairseq's prepare-iwslt14.sh makes of it: None where it leaves
# the line or the pair out. The tokens are those of Moses' tokenizer.perl, lower-cased.
TRAIN: list[tuple[str, str | None, str, str | None]] = [
    ("<url>http://www.ted.com/talks/lang/de/a.html</url>", None, "<url>http://www.ted.com/talks/a.html</url>", None),
    ("<keywords>Klima, Größe</keywords>", None, "<keywords>climate, size</keywords>", None),
    ("<talkid>1</talkid>", None, "<talkid>1</talkid>", None),
    ("<title>Al Gore: Übers Klima</title>", "al gore : übers klima",
     "<title>Al Gore: On the climate</title>", "al gore : on the climate"),
    ('<description>Er sagt "so" & [kurz].</description>', "er sagt &quot; so &quot; &amp; &#91; kurz &#93; .",
     "<description>He says 'so' & <b>.</description>", "he says &apos; so &apos; &amp; &lt; b &gt; ."),
    ("  Am 3. Mai, z.B. in den U.S.A.  ", "am 3. mai , z.b. in den u.s.a .",
     " On May 3, he's in the U.S.A. ", "on may 3 , he &apos;s in the u.s.a ."),
    ("", None, "An empty line on the other side.", None),
    ("Zwei Wörter", None, "This is four words", None),
    ("Drei und zwei.", "drei und zwei .", "This now has six tokens.", "this now has six tokens ."),
    ("zu " * 176, None, "too " * 175, None),
    ("lang " * 175, " ".join(["lang"] * 175), "long " * 175, " ".join(["long"] * 175)),
    ("x" * 1001, None, "A long word.", None),
    *((f" Das ist Satz {i}. ", f"das ist satz {i} .", f" This is sentence {i}. ", f"this is sentence {i} .")
      for i in range(45)),
]  # fmt: skip


def segments(*texts: str) -> str:
    """Return a test set with the mark-up that IWSLT gives it."""
    segs = "".join(f'<seg id="{number}"> {text} </seg>\n' for number, text in enumerate(texts, start=1))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<mteval>\n<doc docid="9">\n<title>T</title>\n{segs}</doc>\n'


def german() -> Files:
    """Return the files of de-en.tgz."""
    files = {f"de-en/train.tags.de-en.{lang}": "".join(f"{line[side]}\n" for line in TRAIN)
             for lang, side in (("de", 0), ("en", 2))}  # fmt: skip
    for part in reversed(PARTS):
        files[f"de-en/IWSLT14.{part}.de-en.de.xml"] = segments(f"Aus {part}.", "Das &amp; das’s.")
        files[f"de-en/IWSLT14.{part}.de-en.en.xml"] = segments(f"From {part}.", "That &amp; that’s.")
    return {"de-en/README": "What is in here.\n", **files, "de-en/IWSLT14.TED.tst2013.de-en.en.xml": segments("Later.")}


def other(pair: str, release: str, parts: list[str], sentence: str, odd: str = "") -> Files:
    """Return the files of another pair: 50 training pairs, and two in each test set."""
    lang = pair[:2]
    files = {}
    for side, text in ((lang, sentence), ("en", "This is sentence {}.")):
        body = "".join(f"{text.format(number)}\n" for number in range(50))
        files[f"{pair}/train.tags.{pair}.{side}"] = f"<talkid>1</talkid>\n{odd}{body}"
        for part in parts:
            two = (text.format(f"{part} {number}") for number in (1, 2))
            files[f"{pair}/{release}.{part}.{pair}.{side}.xml"] = segments(*two)
    return files


def spanish() -> Files:
    return other("es-en", "IWSLT14", ["TED.dev2010", "TED.tst2010", "TED.tst2011", "TED.tst2012"], "¿Es la frase {}?")


def modern(pair: str, sentence: str) -> Files:
    """Return the files of a pair of IWSLT17, with the mark-up of that year."""
    parts = ["TED.dev2010", *(f"TED.tst201{year}" for year in range(6))]
    notes = ("<speaker>A. B.</speaker>", '<reviewer href="x">C</reviewer>', '<translator href="y">D</translator>')
    odd = "\n".join(['<doc docid="1">', *notes, "</doc>", ""])
    return other(pair, "IWSLT17", parts, sentence, odd)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return pack(tmp_path / "de-en.tgz", german())


@pytest.fixture
def no_fairseq(tmp_path: Path) -> str:
    return stub_fairseq(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """De-En, run to the end: the archive and the result."""
    folder = tmp_path_factory.mktemp("whole")
    archive = pack(folder / "de-en.tgz", german())
    assert "Next: scripts/train.sh configs/iwslt14_deen/rdrop.yaml" in prepared(
        IWSLT14, "de-en", "--from", archive, "--out", folder / "out"
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
    digest = subprocess.run(["sha256sum", archive], capture_output=True, text=True, check=True).stdout.split()[0]
    assert lines(out / "settings") == [
        "script: prepare_iwslt14.sh",
        "pair: de-en",
        "lowercase: yes",
        "escaped: yes",
        "bpe: 40",
        "tokens: sacremoses",
        f"de-en.tgz: {digest}",
    ]
    assert lines(out / "testsets") == ["test"]


def test_the_other_direction_finds_it_done(whole: tuple[Path, Path]) -> None:
    before = content(whole[1])
    printed = prepared(IWSLT14, "en-de", "--from", whole[0], "--out", whole[1])
    assert printed.count("done before") == len(STEPS)
    assert "configs/iwslt14_ende/rdrop.yaml" in printed
    assert content(whole[1]) == before


# Other archives, pairs and options


def test_the_archive_of_the_year(whole: tuple[Path, Path], tmp_path: Path, no_fairseq: str) -> None:
    inner = {f"texts/{lang}/en/{lang}-en.tgz": pack(tmp_path / "in" / f"{lang}-en.tgz", files).read_bytes()
             for lang, files in (("es", spanish()), ("de", german()))}  # fmt: skip
    pack(tmp_path / "2014-01.tgz", {f"2014-01/{name}": data for name, data in inner.items()})
    prepared(IWSLT14, "de-en", "--from", tmp_path, "--out", tmp_path / "de", PYTHONPATH=no_fairseq)
    assert content(tmp_path / "de" / "bpe") == content(whole[1] / "bpe")
    prepared(IWSLT14, "en-es", "--from", tmp_path / "2014-01.tgz", "--out", tmp_path / "es", PYTHONPATH=no_fairseq)
    assert lines(tmp_path / "es" / "tok" / "test.es") == [
        f"¿ es la frase ted.{part} {n} ?" for part in ("dev2010", "tst2010", "tst2011", "tst2012") for n in (1, 2)
    ]
    assert lines(tmp_path / "es" / "tok" / "valid.en") == ["this is sentence 22 .", "this is sentence 45 ."]


def test_case_can_stay(tmp_path: Path, archive: Path, no_fairseq: str) -> None:
    out = tmp_path / "out"
    prepared(IWSLT14, "de-en", "--from", archive, "--out", out, "--cased", PYTHONPATH=no_fairseq)
    assert lines(out / "tok" / "train.de")[0] == "Al Gore : Übers Klima"
    assert "lowercase: no" in lines(out / "settings")
    assert f"{out} was made with lowercase: no, not with lowercase: yes" in refused(
        IWSLT14, "de-en", "--from", archive, "--out", out
    )


def test_french(tmp_path: Path, no_fairseq: str) -> None:
    archive, out = pack(tmp_path / "fr-en.tgz", modern("fr-en", "L'idée {} de l'homme.")), tmp_path / "out"
    printed = prepared(IWSLT17, "en-fr", "--from", archive, "--out", out, PYTHONPATH=no_fairseq)
    assert "configs/iwslt17_enfr/rdrop.yaml" in printed
    assert lines(out / "tok" / "train.fr")[:2] == [f"l&apos; idée {n} de l&apos; homme ." for n in (0, 1)]
    assert lines(out / "testsets") == ["test", "tst2013", "tst2014", "tst2015"]
    assert lines(out / "raw" / "tst2014.en") == ["This is sentence TED.tst2014 1.", "This is sentence TED.tst2014 2."]
    assert len(lines(out / "tok" / "test.en")) == 8


def test_chinese(tmp_path: Path) -> None:
    archive = pack(tmp_path / "zh-en.tgz", modern("zh-en", "我来到北京清华大学 & {}。"))
    out = tmp_path / "out"
    prepared(IWSLT17, "zh-en", "--from", archive, "--out", out)
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
def test_the_scripts_of_a_checkout_of_moses(tmp_path: Path, archive: Path, no_fairseq: str) -> None:
    checkout = moses(
        tmp_path / "mosesdecoder",
        tokenizer='my $o = "@ARGV"; while (<STDIN>) { chomp; print "$_ <$o>\\n" }',
        lowercase='while (<STDIN>) { chomp; print uc($_), "!\\n" }',
    )
    out = tmp_path / "out"
    options = ("--from", archive, "--out", out, "--moses", checkout)
    prepared(IWSLT14, "de-en", *options, PYTHONPATH=no_fairseq)
    assert lines(out / "tokens" / "test.de")[0] == "Aus TED.dev2010. <-q -l de>"
    assert lines(out / "tok" / "test.en")[0] == "FROM TED.DEV2010. <-Q -L EN>!"
    assert "tokens: Perl scripts of Moses" in lines(out / "settings")


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
def test_interrupted_in_every_step(whole: tuple[Path, Path], tmp_path: Path, step: str) -> None:
    out = tmp_path / "out"
    arguments = command(IWSLT14, *until(whole, out, step))
    interrupted(arguments, environment(), lambda: at_work(out))
    assert not rest(out, step)


@pytest.mark.parametrize("step", STEPS)
def test_full_disk_in_every_step(whole: tuple[Path, Path], tmp_path: Path, step: str) -> None:
    message = refused(IWSLT14, *until(whole, tmp_path / "out", step), limit=1)
    assert "File too large" in message or "fairseq-preprocess" in message
    assert not rest(tmp_path / "out", step)


def test_a_stopped_run_goes_on(whole: tuple[Path, Path], tmp_path: Path, no_fairseq: str) -> None:
    out = tmp_path / "out"
    options = until(whole, out, "raw tok")
    (out / "raw").mkdir()  # it had its name, tok had not yet
    (out / ".part.1").mkdir()
    assert prepared(IWSLT14, *options, PYTHONPATH=no_fairseq).count("done before") == 2
    for folder in ("raw", "tok", "bpe"):
        assert content(out / folder) == content(whole[1] / folder)
    assert not list(out.glob(".part*"))


# Bad input


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        (IWSLT14, ["de-fr"], "unknown pair 'de-fr'; there are de-en en-de es-en en-es"),
        (IWSLT17, ["de-en"], "unknown pair 'de-en'; there are fr-en en-fr zh-en en-zh"),
        (IWSLT14, [], "no pair given; there are de-en en-de es-en en-es"),
        (IWSLT14, ["de-en", "en-de"], "two pairs: de-en and en-de"),
        (IWSLT14, ["de-en", "--from", "/no/such"], "--from: there is no '/no/such'"),
        (IWSLT14, ["de-en", "--from", "/dev/zero"], "--from: '/dev/zero' is neither a file nor a folder"),
        (IWSLT14, ["de-en", "--moses", "/no/such"], "'/no/such' is no checkout of Moses: it has no scripts/tokenizer"),
        (IWSLT14, ["de-en", "--from"], "--from needs a value"),
        (IWSLT14, ["de-en", "--bpe", "many"], "--bpe must be a positive integer, not 'many'"),
        (IWSLT14, ["de-en", "--train-lines", "5"], "unknown option '--train-lines'"),
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
    assert not rest(tmp_path / "out", "text")
    assert not (tmp_path / "out" / "settings").exists()


def test_the_archive_of_another_pair(tmp_path: Path) -> None:
    archive = pack(tmp_path / "de-en.tgz", spanish())
    message = refused(IWSLT14, "de-en", "--from", tmp_path, "--out", tmp_path / "out")
    assert f"{archive}: the archive has no de-en/train.tags.de-en.de and 11 more" in message


def test_a_folder_without_the_archive(tmp_path: Path) -> None:
    message = refused(IWSLT17, "en-zh", "--from", tmp_path, "--out", tmp_path / "out")
    assert f"--from: {tmp_path} has neither zh-en.tgz nor 2017-01-trnted.tgz" in message


def test_download(tmp_path: Path, archive: Path, server: str, no_fairseq: str) -> None:
    scripts = tmp_path / "repository" / "scripts"
    shutil.copytree(SCRIPTS, scripts)
    script = scripts / IWSLT14
    script.write_text(script.read_text().replace("http://dl.fbaipublicfiles.com/fairseq/data/iwslt14", server))
    out, whole = scripts.parent / "data" / "iwslt14_deen", archive.read_bytes()
    cut_short(archive)
    message = refused(IWSLT14, "de-en", scripts=scripts)
    assert "it is now de-en.tgz.broken, run again to fetch it anew" in message
    archive.write_bytes(whole)
    prepared(IWSLT14, "de-en", scripts=scripts, PYTHONPATH=no_fairseq)
    assert (out / "archives" / "de-en.tgz").read_bytes() == archive.read_bytes()
    assert prepared(IWSLT14, "en-de", scripts=scripts).count("done before") == len(STEPS)


def test_no_download_says_where_the_archive_is(tmp_path: Path) -> None:
    scripts = tmp_path / "repository" / "scripts"
    shutil.copytree(SCRIPTS, scripts)
    script = scripts / IWSLT17
    script.write_text(script.read_text().replace("https://wit3.fbk.eu/archive", "http://127.0.0.1:1"))
    message = refused(IWSLT17, "fr-en", scripts=scripts)
    assert "cannot download http://127.0.0.1:1/2017-01-trnted/texts/fr/en/fr-en.tgz (" in message
    assert "get 2017-01-trnted.tgz from https://wit3.fbk.eu/2017-01-b and pass it with --from FILE" in message


def test_without_jieba(tmp_path: Path) -> None:
    """In a Python that does not find jieba, and a copy of the scripts that has no .venv beside it."""
    scripts = tmp_path / "repository" / "scripts"
    shutil.copytree(SCRIPTS, scripts)
    (tmp_path / "sitecustomize.py").write_text('import sys\nsys.modules["jieba"] = None\n')
    archive = pack(tmp_path / "zh-en.tgz", modern("zh-en", "我 {}"))
    options = ("zh-en", "--from", archive, "--out", tmp_path / "out")
    message = refused(IWSLT17, *options, scripts=scripts, PYTHONPATH=str(tmp_path))
    assert "not installed: jieba; run make install" in message
    assert not (tmp_path / "out").exists()
