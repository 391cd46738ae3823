"""recipes/text/sentencepiece.py: pieces of the text itself, the same for any number of workers, and back."""

import functools
from pathlib import Path

import pytest
from recipes.text import sentencepiece
from recipes.text.line_pool import map_files

LINES = ["Ein Hund läuft.", "Zwei Hunde laufen über die Wiese！", "これは\u3000本です。", "  the  lower\u00a0dog ran "]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model of 60 pieces, learned by two workers."""
    folder = tmp_path_factory.mktemp("pieces")
    for name, lines in (("train.de", LINES[:3]), ("train.en", LINES[3:])):
        (folder / name).write_text("".join(f"{line}\n" for line in lines * 40), encoding="utf-8")
    sentencepiece.learn(folder / "model", 60, [folder / "train.de", folder / "train.en"], 2)
    return folder / "model"


def test_pieces_joined_are_the_text_with_single_spaces(model: Path) -> None:
    apply = sentencepiece.applier(model)
    pieces = apply([*LINES, "", "a 犬 & <unk>"])
    assert pieces[4] == "" and all(len(line.split(" ")) == len(line.split()) > 2 for line in pieces[:4])
    expected = [*(" ".join(line.split()) for line in LINES), "", "a 犬 & <unk>"]
    assert sentencepiece.join(pieces) == expected


def test_the_model_does_not_depend_on_the_workers(model: Path, tmp_path: Path) -> None:
    files = [model.parent / "train.de", model.parent / "train.en"]
    sentencepiece.learn(tmp_path / "again", 60, files, 1)
    assert (tmp_path / "again").read_bytes() == model.read_bytes()
    map_files(functools.partial(sentencepiece.applier, model), files, tmp_path, 2)
    assert (tmp_path / "train.de").read_text(encoding="utf-8").splitlines()[0] == sentencepiece.applier(model)(LINES)[0]


def test_fewer_pieces_than_asked_for_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.en").write_text("ab ab abc\n" * 3)
    sentencepiece.learn(tmp_path / "model", 5000, [tmp_path / "text.en"], 1)
    printed, to_stderr = capfd.readouterr()
    assert printed.startswith("bpe: ") and printed.endswith(
        " pieces, fewer than 5000: the training text gives no more\n"
    )
    assert to_stderr == ""


@pytest.mark.parametrize(
    ("text", "pieces", "reason"),
    [
        ("abcdefghijklm\n", 9, "Vocabulary size is smaller than required_chars. 9 vs "),
        (" \n", 9, "it has no characters"),
    ],
)
def test_what_cannot_be_learned_is_said_in_one_line(tmp_path: Path, text: str, pieces: int, reason: str) -> None:
    (tmp_path / "text.en").write_text(text)
    with pytest.raises(SystemExit, match=f"^bpe: SentencePiece cannot learn 9 pieces of the training text: {reason}"):
        sentencepiece.learn(tmp_path / "model", pieces, [tmp_path / "text.en"], 1)
    assert not (tmp_path / "model").exists()
