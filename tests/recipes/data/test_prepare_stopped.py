"""A prepare script that is killed, interrupted or started twice; scripts/prepare_multi30k.sh stands for all."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from recipes.data import pipeline
from support.prepare import at_work, command, content, interrupted, is_gone, prepared, refused, started
from support.sources import write_multi30k
from support.waiting import wait_until

SCRIPT = "prepare_multi30k.sh"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a training text that is long enough to catch each step at work."""
    folder = write_multi30k(tmp_path_factory.mktemp("source"))
    for lang in ("de", "en"):
        train = folder / f"train.{lang}"
        train.write_bytes(train.read_bytes() * 150)
    return folder


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the result of an uninterrupted run, but for the last step."""
    out = tmp_path_factory.mktemp("whole") / "out"
    prepared(SCRIPT, "--from", source, "--out", out)
    return out


def test_killed_run_goes_on(source: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for done, begun in (("", "raw"), ("raw", "tok"), ("tok", "bpe/codes"), ("bpe", "bin")):
        process = started(
            command(SCRIPT, "--from", source, "--out", out),
            lambda done=done, begun=begun: (out / done).exists() and at_work(out, begun),  # type: ignore[misc]
        )
        process.kill()  # it alone, and not its children
        process.wait()
        wait_until(lambda session=process.pid: is_gone(session))  # type: ignore[misc]
        process.communicate()
        assert not (out / "bin").exists()
        assert (out / "settings.json").exists() == bool(done)
    assert prepared(SCRIPT, "--from", source, "--out", out, fairseq=True).count("done before") == 3
    made = content(out)
    assert {f"bin/{name}.de-en.de.bin" for name in ("train", "valid", "test", "test1")} < made.keys()
    assert {name: text for name, text in made.items() if not name.startswith("bin/")} == content(whole)


@pytest.mark.parametrize(
    ("done", "sign"), [("raw", ".*.part/tok/train.de"), ("tok", ".*.part/bpe/codes"), ("bpe", "preprocess.log")]
)
def test_interrupt_is_one_line_and_leaves_no_process(
    source: Path, whole: Path, tmp_path: Path, done: str, sign: str
) -> None:
    """^C while Moses, BPE or fairseq is at work."""
    out = tmp_path / "out"
    later = ["tok", "bpe", "bin"][["raw", "tok", "bpe"].index(done) :]
    shutil.copytree(whole, out, ignore=shutil.ignore_patterns(*later))
    interrupted(command(SCRIPT, "--from", source, "--out", out), lambda: any(out.glob(sign)))
    assert not any((out / folder).exists() for folder in later) and not at_work(out)


def test_two_runs_at_once(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PATIENCE", 0.2)
    out = tmp_path / "out"
    process = started(command(SCRIPT, "--from", source, "--out", out), lambda: at_work(out))
    os.kill(process.pid, signal.SIGSTOP)
    assert "another run is at work" in refused(SCRIPT, "--from", source, "--out", out)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
