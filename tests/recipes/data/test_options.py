"""recipes/data/options.py: what the shared options take and refuse."""

import os
from pathlib import Path

import pytest
from recipes.cli import ROOT, cores
from recipes.data.options import Options, file_or_folder, folder, tell_next


def parse(*arguments: str):
    return Options("--moses", "--train-lines", source=file_or_folder, pairs="de-en en-de", bpe=10_000).parse_args(
        ["de-en", *arguments]
    )


def refusal(*arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        parse(*arguments)
    assert isinstance(end.value.code, str)
    return end.value.code


def test_defaults() -> None:
    args = parse()
    assert vars(args) == {
        "pair": "de-en",
        "source": None,
        "out": None,
        "workers": cores(),
        "bpe": 10_000,
        "moses": None,
        "train_lines": None,
    }


@pytest.mark.parametrize("option", ["--workers", "--bpe", "--train-lines"])
@pytest.mark.parametrize("number", ["½", "²", "٣", "0", "-1", "1.5", "4k", "", "2147483648", "99999999999999999999"])
def test_numbers_that_are_refused(option: str, number: str) -> None:
    allowed = "an integer up to 2147483647" if number.isdigit() and number.isascii() and int(number) else "positive"
    line = refusal(option, number)
    assert f"argument {option}: must be" in line and allowed in line and f"not '{number}'" in line


@pytest.mark.parametrize("option", ["--from", "--out", "--moses", "--workers", "--bpe", "--train-lines"])
def test_an_option_needs_a_value(option: str) -> None:
    assert f"argument {option}: expected one argument (see --help)" in refusal(option)
    assert f"argument {option}: expected one argument (see --help)" in refusal(option, "--workers")


@pytest.mark.parametrize("option", ["--from", "--out", "--moses"])
def test_an_empty_path_and_one_with_a_line_break_are_refused(option: str) -> None:
    assert f"argument {option}: needs a value" in refusal(option, "")
    assert f"argument {option}: a path must not hold a line break" in refusal(option, "a\nb")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--form", "x"], "unrecognized arguments: --form x"),
        (["--tra", "3"], "unrecognized arguments: --tra 3"),
        (["en-de"], "unrecognized arguments: en-de"),
        (["--from", "/no/such"], "argument --from: there is no '/no/such'"),
        (["--from", "/dev/zero"], "argument --from: '/dev/zero' is neither a file nor a folder"),
        (["--moses", "/no/such"], "argument --moses: '/no/such' is no checkout of Moses: it has no scripts/tokenizer/"),
    ],
)
def test_other_refusals(arguments: list[str], message: str) -> None:
    assert message in refusal(*arguments)


def test_pairs_that_are_refused() -> None:
    for arguments, message in (
        (["de-fr"], "invalid choice: 'de-fr' (choose from 'de-en', 'en-de')"),
        ([], "the following arguments are required: PAIR (de-en en-de)"),
    ):
        with pytest.raises(SystemExit, match=message.replace("(", r"\(").replace(")", r"\)")):
            Options(pairs="de-en en-de").parse_args(arguments)


def test_a_source_that_must_be_a_folder() -> None:
    with pytest.raises(SystemExit, match=f"argument --from: there is no folder '{__file__}'"):
        Options(source=folder).parse_args(["--from", __file__])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_source_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "x").touch(0)
    assert "cannot be read" in refusal("--from", str(tmp_path / "x"))


def test_paths_may_start_with_a_dash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-in").mkdir()
    args = parse("--from", "-in", "--out", "-x")
    assert (args.source, args.out) == (Path("-in"), tmp_path / "-x")


@pytest.mark.parametrize("name", ["a:b", "a${b}", "a #b"])
def test_folders_that_training_cannot_take(name: str, tmp_path: Path) -> None:
    path = f"{tmp_path}/{name}/out"
    message = f"argument --out: training cannot take a path that holds a colon, ${{ or ' #', as '{path}' does"
    assert message in refusal("--out", f"{tmp_path}/{name}/out")


def test_the_path_of_the_repository_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A config names what is in the repository by a relative path."""
    monkeypatch.setattr("recipes.data.options.ROOT", Path("/a:b/repository"))
    assert parse("--out", "/a:b/repository/data/x").out == Path("/a:b/repository/data/x")
    assert "colon" in refusal("--out", "/a:b/data/x")
    assert "colon" in refusal("--out", "/a:b/repository/c:d")
    assert Path(__file__).resolve().parents[3] == ROOT


def test_the_next_command_names_data_that_is_not_in_its_usual_place(capsys: pytest.CaptureFixture[str]) -> None:
    tell_next(ROOT / "data/mine", "mine", "configs/mine.yaml")
    tell_next(ROOT / "data/my text", "mine", "configs/mine.yaml")
    usual, other = capsys.readouterr().out.splitlines()
    assert usual == f"The data is in {ROOT}/data/mine/bin. Next: scripts/train.sh configs/mine.yaml"
    assert other.endswith(f". Next: scripts/train.sh configs/mine.yaml 'task.data={ROOT}/data/my text/bin'")
