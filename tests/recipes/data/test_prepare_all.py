"""What all prepare scripts share: runs again, results of other scripts, sources and options that they cannot use."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from recipes.data import demo, pipeline
from recipes.data.preparation import Preparation
from recipes.data.prepared import Prepared, read_prepared
from recipes.layout import copy_of_preparation
from support.chinese import write_sentiment, write_tnews
from support.glue import write_glue
from support.places import ROOT, SCRIPTS
from support.prepare import content, lines, prepared, refused, run, state
from support.sources import (
    EUROPARL,
    german,
    modern,
    pack,
    write_multi30k,
    write_text,
    write_wikitext,
    write_wmt,
)
from support.summaries import write_csl, write_summaries

NAMES = "text multi30k iwslt14 iwslt17 wmt14 wikitext2 glue sentiment_zh clue summarization csl demo"
TEXT, MULTI30K, IWSLT14, IWSLT17, WMT14, WIKITEXT2, GLUE, SENTIMENT, CLUE, SUMMARIES, CSL, DEMO = (
    f"prepare_{name}.sh" for name in NAMES.split()
)
WRITERS: dict[str, Callable[[Path], object]] = {
    TEXT: write_text,
    MULTI30K: write_multi30k,
    IWSLT14: lambda folder: pack(folder / "de-en.tgz", german()),
    IWSLT17: lambda folder: pack(folder / "fr-en.tgz", modern("fr-en", "L'idée {} de l'homme.")),
    WMT14: write_wmt,
    WIKITEXT2: write_wikitext,
    GLUE: lambda folder: write_glue(folder, "RTE"),
    SENTIMENT: write_sentiment,
    CLUE: write_tnews,
    DEMO: Path.mkdir,
    SUMMARIES: write_summaries,
    CSL: write_csl,
}
UNREADABLE = {  # a file of each source, without which nothing can be made
    TEXT: "train.en",
    MULTI30K: "train.de",
    IWSLT14: "de-en.tgz",
    IWSLT17: "fr-en.tgz",
    WMT14: EUROPARL,
    WIKITEXT2: "train.txt",
    GLUE: "train.tsv",
    SENTIMENT: "train.tsv",
    CLUE: "train.json",
    SUMMARIES: "train.source",
    CSL: "csl_title_train.json",
}
ARCHIVES = ["text", "tokens", "raw tok", "bpe", "bin"]
STEPS = {
    IWSLT14: ARCHIVES,
    IWSLT17: ARCHIVES,
    WMT14: ["text", "tokens", "codes", "raw tok bpe", "bin"],
    WIKITEXT2: ["raw", "bin"],
    **{script: ["raw", "bpe", "bin"] for script in (GLUE, SENTIMENT, CLUE, SUMMARIES, CSL)},
}
SAME = ("prepare_wikitext103.sh", "prepare_cnn_dm.sh")  # as prepare_wikitext2.sh and SUMMARIES, with another text
PLAIN = ["raw", "tok", "bpe", "bin"]
needs_proc = pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc")


def options_of(script: str, source: Path) -> list[object]:
    own = {TEXT: ["--pair", "de-en"], IWSLT14: ["de-en"], IWSLT17: ["fr-en"], WMT14: ["en-de"], GLUE: ["RTE"]}
    own |= {SENTIMENT: ["--labeled", "3"], CLUE: ["tnews"]}
    return [*own.get(script, []), *([] if script == DEMO else ["--from", source])]


@pytest.fixture(scope="module", autouse=True)
def short_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the first lines of the demo's text, for speed."""
    text = tmp_path_factory.mktemp("demo_text")
    for file in demo.TEXT.iterdir():
        (text / file.name).write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:40]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "TEXT", text)
        patch.setattr(demo, "MERGES", 40)
        yield


class Made:
    """What a script made of its stand-in, with a fairseq-preprocess that does nothing."""

    def __init__(self, script: str, folder: Path) -> None:
        self.script, self.source, self.out = script, folder / "source", folder / "out"
        WRITERS[script](self.source)
        self.options = options_of(script, self.source)
        self.steps = STEPS.get(script, PLAIN)
        self.first = self.out / self.steps[0]
        self.printed = prepared(script, *self.options, "--out", self.out)

    def copy(self, folder: Path) -> Path:
        return shutil.copytree(self.out, folder / "out")


@pytest.fixture(scope="module", params=WRITERS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(request.param, tmp_path_factory.mktemp("made"))


def test_a_run_again_changes_nothing(made: Made) -> None:
    before = state(made.out)
    printed = prepared(made.script, *made.options, "--out", made.out)
    assert [line for line in printed.splitlines() if "done" in line] == [f"{step}: done before" for step in made.steps]
    assert state(made.out) == before


def write_former(folder: Path, *, named: bool = True, more: str = "") -> None:
    """Write the settings as the scripts did before there was settings.json, and as they did before they had a name."""
    made = read_prepared(folder)
    (folder / "settings.json").unlink()
    settings = {name: value for name, value in made.settings.items() if named or name != "script"}
    if made.script not in (IWSLT14, IWSLT17, WMT14, TEXT, CSL):
        del settings["lowercase"]
    if not made.escaped:
        del settings["escaped"]
    text = "".join(f"{name}: {value}\n" for name, value in (settings | made.sources).items())
    (folder / "settings").write_text(text + more)
    if made.script != WIKITEXT2:
        (folder / "testsets").write_text("".join(f"{name}\n" for name in made.testsets))


@pytest.mark.parametrize("named", [True, False])
def test_data_made_before_is_accepted(made: Made, tmp_path: Path, named: bool) -> None:
    """Also data of a time when the settings did not name the script."""
    out = made.copy(tmp_path)
    write_former(out, named=named)
    before = state(out)
    printed = prepared(made.script, *made.options, "--out", out)
    assert "bin: done before" in printed and "done in" not in printed
    assert state(out) == before
    with (out / "settings").open("a") as settings:
        settings.write("fish: yes\n")
    line = refused(made.script, *made.options, "--out", out)
    assert "was made with fish: yes, not with no fish" in line


def test_data_made_before_goes_on(made: Made, tmp_path: Path) -> None:
    """The test sets of the last step are those of the first."""
    out = made.copy(tmp_path)
    write_former(out)
    shutil.rmtree(out / "bin")
    assert "bin: done in" in prepared(made.script, *made.options, "--out", out)
    shutil.rmtree(out / made.steps[0].split()[0])
    prepared(made.script, *made.options, "--out", out)
    assert not (out / "settings").exists() and not (out / "testsets").exists()
    assert (out / "settings.json").read_bytes() == (made.out / "settings.json").read_bytes()


def test_the_result_of_another_script_is_refused(made: Made, tmp_path: Path) -> None:
    """Settings and folders that stand in for it: nothing of them goes."""
    out = tmp_path / "out"
    other = MULTI30K if made.script == TEXT else TEXT
    for folder in ("raw", "tok", "bpe", "bin"):
        (out / folder).mkdir(parents=True)
        (out / folder / "train.de").write_text("alt\n")
    (out / ".prepare.lock").touch()
    settings = read_prepared(made.out)
    Prepared(other, settings.options, sources=settings.sources).write(out)
    before = state(out)
    line = refused(made.script, *made.options, "--out", out)
    assert f"{out} was made with script: {other}, not with script: {made.script}; use another --out" in line
    assert state(out) == before


def test_no_step_goes_before_the_new_one_is_there(made: Made, tmp_path: Path) -> None:
    out = made.copy(tmp_path)
    first = out / made.first.name
    shutil.rmtree(first)
    before = state(out)
    refused(made.script, *made.options, "--out", out, limit=0)
    assert state(out) == before
    assert not first.exists()


@contextmanager
def interrupted_at_the_end_of(step: str) -> Iterator[None]:
    """Send this process ^C when a step has filled its folders, before they are renamed."""

    def interrupting(self: pipeline.Step, out: Path) -> bool:
        if self.name == step:
            make = self.make

            def make_and_interrupt(part: Path) -> None:
                make(part)
                os.kill(os.getpid(), signal.SIGINT)
                pytest.fail("the step was made")

            object.__setattr__(self, "make", make_and_interrupt)
        return is_done(self, out)

    is_done = pipeline.Step.is_done
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.Step, "is_done", interrupting)
        yield


def test_interrupted_in_every_step(made: Made, tmp_path: Path) -> None:
    """Nothing of the step is there, what was before it is, and the next run comes to the same end."""
    out = tmp_path / "out"
    for number, step in enumerate(made.steps):
        with interrupted_at_the_end_of(step):
            result = run(made.script, *made.options, "--out", out)
        assert (result.returncode, result.stderr) == (130, f"{made.script}: interrupted; run it again to go on\n")
        assert result.stdout.count("done before") == max(0, number - 1)
        folders = [folder for done in made.steps[:number] for folder in done.split()]
        assert {path.name for path in out.iterdir() if path.is_dir()} == set(folders)
    prepared(made.script, *made.options, "--out", out)
    assert content(out) == content(made.out)


def test_full_disk_in_every_step(made: Made, tmp_path: Path) -> None:
    """But for the last one, whose files this stand-in for fairseq does not write."""
    out = made.copy(tmp_path)
    for step in reversed(made.steps[:-1]):
        for folder in step.split():
            shutil.rmtree(out / folder)
        kept = state(out)
        assert "File too large" in refused(made.script, *made.options, "--out", out, limit=0)
        assert state(out) == kept
        assert not any((out / folder).exists() for folder in step.split())


@needs_proc
def test_a_source_that_cannot_be_read_is_one_line(made: Made, tmp_path: Path) -> None:
    """A file that is there, and fails when it is read, even for root: also when the first step is done."""
    if made.script == DEMO:
        pytest.skip("has no source")
    source, out = shutil.copytree(made.source, tmp_path / "source"), tmp_path / "out"
    for file in source.glob(f"{UNREADABLE[made.script]}*"):
        file.unlink()
    (source / UNREADABLE[made.script]).symlink_to("/proc/self/mem")
    line = refused(made.script, *options_of(made.script, source), "--out", out)
    assert "Input/output error" in line
    assert content(out) == {".prepare.lock": b""} and not (out / made.first.name).exists()
    before = state(made.out)
    assert "Input/output error" in refused(made.script, *options_of(made.script, source), "--out", made.out)
    assert state(made.out) == before


@pytest.mark.parametrize("script", WRITERS)
@pytest.mark.parametrize("number", ["½", "99999999999999999999"])
def test_numbers_that_are_refused(script: str, number: str, tmp_path: Path) -> None:
    source = tmp_path if script != IWSLT14 else Path(__file__)
    line = refused(script, *options_of(script, source), "--workers", number, "--out", tmp_path / "out")
    allowed = "an integer up to 2147483647" if number.isascii() else "a positive integer"
    assert f"--workers: must be {allowed}, not '{number}'" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a:b", "a${b}", "a\nb"])
def test_a_folder_that_training_cannot_take_is_refused(made: Made, name: str, tmp_path: Path) -> None:
    line = refused(made.script, *made.options, "--out", tmp_path / name / "out")
    assert "--out: " in line
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("script", [IWSLT14, WMT14, TEXT])
def test_odd_paths(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leading dash, a comma, a blank, an equals sign."""
    WRITERS[script](tmp_path / "-in=1, 2")
    monkeypatch.chdir(tmp_path)
    printed = prepared(script, *options_of(script, Path("-in=1, 2")), "--out", "-x=1, 2")
    assert f"The data is in {tmp_path}/-x=1, 2/bin" in printed


def test_the_next_command_trains_on_the_data_that_was_made(made: Made) -> None:
    if made.script == DEMO:
        pytest.skip("the demo goes on by itself")
    told = made.printed.partition(f"The data is in {made.out}/bin")[2].splitlines()[0]
    if told != ": task.data of a config":
        config = told.removeprefix(". Next: scripts/train.sh ").split()[0]
        assert (ROOT / config).is_file() and told.endswith(f" task.data={made.out}/bin")


def test_every_prepare_script_is_tested_here():
    assert {path.name for path in SCRIPTS.glob("prepare_*.sh")} == {*WRITERS, *SAME}


def test_other_text_becomes_subwords_as_the_texts_did(made: Made, tmp_path: Path) -> None:
    if made.script in (WIKITEXT2, GLUE, SENTIMENT, CLUE):
        pytest.skip("no other text is encoded by its preparation")
    copy_of_preparation(made.out / "bin", tmp_path)
    texts = [text for text in (made.out / "raw").iterdir() if (made.script, text.stem) != (WMT14, "test")]
    assert len(texts) >= 2
    for text in texts:
        encode = Preparation(tmp_path).encode(text.suffix[1:])
        assert encode(lines(text)) == lines(made.out / "bpe" / text.name)
