"""recipes/text/binarize.py and preprocess.py: data equals fairseq-preprocess's, and no process outlives its parent."""

import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import fairseq_cli.preprocess as fairseq_preprocess
import pytest
import torch
from fairseq import options
from fairseq.data import Dictionary, indexed_dataset
from fairseq.tokenizer import tokenize_line
from recipes.text import binarize, preprocess
from support.places import SCRIPTS
from support.preprocess import fairseq_in_a_fork
from support.waiting import is_gone, wait_until

TEXT = "a b c\nd a\n\nb b b a\né a b\n" * 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with texts of two languages and of one, and an empty folder. Its path has a comma and a space."""
    folder = tmp_path / "a, b"
    for name in ("texts", "bin"):
        (folder / name).mkdir(parents=True)
    for split, number in (("train", 25), ("valid", 3), ("test", 4), ("test_news", 2)):
        text = "".join(TEXT.splitlines(keepends=True)[:number])
        for name in (f"{split}.de", f"{split}.txt"):
            (folder / "texts" / name).write_text(text, encoding="utf-8")
        (folder / "texts" / f"{split}.en").write_text(text.replace("a", "z y"), encoding="utf-8")
    return folder


def stub_fairseq(folder: Path, code: str) -> str:
    """Return a PYTHONPATH on which fairseq-preprocess is this code, which must end the process."""
    package = folder / "stub" / "fairseq_cli"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "preprocess.py").write_text(code)
    return str(package.parent)


def plain(arguments: list[str], folder: Path) -> None:
    """Run fairseq-preprocess in a folder, without what this repository adds to it."""
    os.chdir(folder)
    fairseq_preprocess.main(options.get_preprocessing_parser().parse_args(arguments))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "preprocess.log"}


@pytest.mark.parametrize(
    ("langs", "joint", "splits", "arguments"),
    [
        (("de", "en"), True, ["train", "valid", "test", "test_news"], ["--joined-dictionary"]),
        (("en", "de"), False, ["train", "valid"], []),
        (None, False, ["train.txt", "valid.txt", "test.txt"], ["--only-source"]),
    ],
    ids=["joint", "apart, without a test set", "language model"],
)
def test_data_equals_that_of_fairseq(folder, langs, joint, splits, arguments) -> None:
    """fairseq's log has no path that differs from run to run."""
    endings = [f".{lang}" for lang in langs] if langs else [""]
    log, out = folder / "log", folder / "bin"
    with fairseq_in_a_fork():
        binarize.binarize(folder / "texts", out, langs, splits, joint=joint, workers=2, log=log)
    assert not log.exists()
    text = (out / "preprocess.log").read_text()
    assert "trainpref='texts/train" in text and "destdir='.part'" in text and str(folder) not in text
    texts = [folder / "texts" / f"{split}{ending}" for split in splits for ending in endings]
    lines = [line for text in texts for line in text.read_text().splitlines()]
    total = sum(len(line.split()) + 1 for line in lines)
    assert binarize.tokens_written(out) == total <= binarize.count_tokens(texts)
    arguments += ["--trainpref", splits[0], "--validpref", splits[1], "--destdir", "../expected"]
    arguments += ["--testpref", ",".join(splits[2:])] if splits[2:] else []
    arguments += ["--source-lang", langs[0], "--target-lang", langs[1]] if langs else []
    by_fairseq = multiprocessing.get_context("fork").Process(target=plain, args=(arguments, folder / "texts"))
    by_fairseq.start()
    by_fairseq.join()
    assert by_fairseq.exitcode == 0
    assert files(out) == files(folder / "expected")


CHILD = """
import os, sys
from pathlib import Path
print(os.environ["OMP_NUM_THREADS"], sorted(os.listdir()), Path("texts/valid.de").read_text().count("\\n"))
sys.exit({end})
"""


@pytest.mark.parametrize(
    ("end", "message"), [("None", ""), ("'no space left'", "fairseq-preprocess: no space left (see {log})")]
)
def test_fairseq_runs_in_a_folder_with_links_and_what_it_prints_goes_to_the_log(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, message: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", stub_fairseq(tmp_path, CHILD.format(end=end)))
    log, kept = folder / "log", tmp_path / "kept"
    log.symlink_to(kept)
    arguments = (folder / "texts", folder / "bin", ("de", "en"), ["train", "valid"])
    if message:
        with pytest.raises(SystemExit) as error:
            binarize.binarize(*arguments, joint=True, workers=1, log=log)
        assert error.value.code == message.format(log=log)
    else:
        binarize.binarize(*arguments, joint=True, workers=1, log=log)
        assert not log.is_symlink()
    assert kept.read_text().splitlines()[0] == "1 ['.part', 'texts'] 3"
    assert sorted(path.name for path in (folder / "bin").iterdir()) == ["dict.de.txt"]


WAITING = """
import os, time
from pathlib import Path
worker = os.fork()
if worker:
    Path("pids").write_text(f"{os.getpid()} {worker}")
    Path("pids").rename("texts/pids")
time.sleep(1000)
"""
PARENT = """
import signal, sys
from pathlib import Path
from recipes import cli
from recipes.text.binarize import binarize
folder = Path(sys.argv[1])
splits = ["train", "valid"]
options = {"joint": True, "workers": 1, "log": folder / "log"}
cli.run(lambda _: binarize(folder / "texts", folder / "bin", ("de", "en"), splits, **options), "command", [])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_fairseq_ends_with_its_parent(folder: Path, tmp_path: Path, number: signal.Signals) -> None:
    """If the parent can still act, fairseq and its workers have ended before it does, and its folder is gone."""
    env = {**os.environ, "PYTHONPATH": f"{stub_fairseq(tmp_path, WAITING)}:{SCRIPTS}"}
    process = subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], env=env, stderr=subprocess.PIPE, text=True)
    pids = folder / "texts" / "pids"
    wait_until(pids.exists, lambda: process.poll() is None)
    running = [int(word) for word in pids.read_text().split()]
    assert not any(map(is_gone, running))
    process.send_signal(number)
    stderr = process.communicate()[1]
    if number == signal.SIGKILL:
        wait_until(lambda: all(map(is_gone, running)))
    else:
        assert all(map(is_gone, running))
        assert stderr == "command: interrupted\n"
        assert sorted(path.name for path in (folder / "bin").iterdir()) == ["dict.de.txt"]


@pytest.mark.parametrize(
    "text",
    [
        "madeupword0000 madeupword0002 b a\nmadeupword0002 é\n",
        "<s> <pad> </s> <unk> <unk>\n",
        "b a c a c b\nab\u00a0ba \ufeff a\0 a\0\n\n#fairseq:overwrite 7 \U0001f600 ｆ\n",
        " \n",
        " ".join(f"w{number}" for number in range(12)) + "\n",
    ],
    ids=["padding", "special", "odd", "nothing", "full"],
)
def test_dictionary_equals_that_of_fairseq(tmp_path: Path, text: str) -> None:
    (tmp_path / "text").write_text(text, encoding="utf-8")
    binarize.write_dictionary([tmp_path / "text"], tmp_path / "made", 1)
    expected = Dictionary()
    Dictionary.add_file_to_dictionary(str(tmp_path / "text"), expected, tokenize_line, 1)
    expected.finalize(padding_factor=8)
    expected.save(str(tmp_path / "expected"))
    assert (tmp_path / "made").read_bytes() == (tmp_path / "expected").read_bytes()
    assert Dictionary.load(str(tmp_path / "made")).symbols == expected.symbols


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_fairseq_does_not_wait_for_a_worker_that_was_killed() -> None:
    pool = preprocess.Pool(2)
    result = pool.apply_async(killed, (), {})
    pool.close()
    pool.join()
    with pytest.raises(BrokenProcessPool):
        result.get()


@pytest.fixture
def binarized(tmp_path: Path) -> tuple[Path, Path]:
    """Return a text of three lines, and the prefix of what fairseq makes of it."""
    text, data = tmp_path / "text", tmp_path / "data"
    text.write_text("a b\nc\n\n")
    builder = indexed_dataset.make_builder(f"{data}.bin", impl="mmap", vocab_size=100)
    for sentence in ([4, 5, 2], [6, 2], [2]):
        builder.add_item(torch.tensor(sentence))
    builder.finalize(f"{data}.idx")
    return text, data


def test_whole_data_is_accepted(binarized: tuple[Path, Path]) -> None:
    preprocess.check(binarized[0], str(binarized[1]))


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        ("text", b"a b\n", "data: 3 sentences of the 1 lines of "),
        ("data.bin", b"\4\0\5\0\2\0\6\0\2\0", "data.bin: 10 bytes, but its index says 12"),
    ],
)
def test_data_that_is_not_that_of_the_text_is_refused(
    binarized: tuple[Path, Path], file: str, data: bytes, message: str
) -> None:
    (binarized[0].parent / file).write_bytes(data)
    with pytest.raises(SystemExit, match=message):
        preprocess.check(binarized[0], str(binarized[1]))
