"""A checkpoint and its binarized data in place of a run: --checkpoint FILE --data BIN."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from recipes.evaluation import (
    checkpoint_choice,
    decoding,
    language_model,
    safe_checkpoint,
    sweep,
    translate,
    translation,
)
from recipes.files import read_lines
from support import command_line
from support.in_process import call, printed, refused
from support.learned_run import fairseq_hypotheses, tree

import rdrop_fairseq.tasks  # noqa: F401  (makes fairseq's checkpoints loadable)


@pytest.fixture(scope="module")
def bare(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a checkpoint of fairseq's, and binarized data beside which nothing says how it was prepared."""
    folder = tmp_path_factory.mktemp("bare")
    data = shutil.copytree(learned.parent / "data/bin", folder / "binarized")
    (folder / "saved").mkdir()
    shutil.copy(learned / "checkpoints/checkpoint_best.pt", folder / "saved/mine.pt")
    return folder / "saved/mine.pt", data


@pytest.fixture(scope="module")
def scored(bare: tuple[Path, Path]) -> str:
    """Return what evaluate_translation.sh printed of the checkpoint."""
    return printed(translation.main, "--checkpoint", bare[0], "--data", bare[1])


def test_the_scores_are_those_of_the_run(bare, scored, learned):
    printed(translation.main, learned)
    assert scored.count("has no settings.json: the text is scored as the tokens that binarized holds") == 1
    for ours, name in (("test", "made_up"), ("test1", "another")):
        result = json.loads((bare[0].parent / f"evaluation/mine/{ours}.json").read_text())
        of_run = json.loads((learned / f"evaluation/best/{name}.json").read_text())
        assert result == of_run | {"checkpoint": "mine"} and result["bleu"] > 10
    expected = [of_line[0].text for of_line in fairseq_hypotheses(learned, "test", "--beam", 3, "--lenpen", 0.6)]
    assert len(read_lines(bare[0].parent / "evaluation/mine/test.tok")) == len(expected)


def test_its_tokens_are_translated_as_they_are(bare, scored, learned):
    where = ("--checkpoint", bare[0], "--data", bare[1])
    result = call(translate.main, *where, learned.parent / "data/tok/another.de")
    assert result.stdout == (bare[0].parent / "evaluation/mine/test1.tok").read_text()
    assert result.stderr.endswith(f"has no settings.json: each line is taken as words of {bare[1]}/dict.de.txt\n")


def test_data_of_a_prepare_script_has_its_own_references(bare, learned, tmp_path):
    text = printed(
        translation.main, "--checkpoint", bare[0], "--data", learned.parent / "data/bin", "--out", tmp_path / "out"
    )
    assert "settings.json" not in text
    assert {path.stem for path in (tmp_path / "out/evaluation/mine").glob("*.json")} == {"made_up", "another"}


def test_a_folder_of_checkpoints_has_a_best_one_and_an_average(bare, learned, tmp_path):
    saved = shutil.copytree(learned / "checkpoints", tmp_path / "saved")
    printed(translation.main, "--checkpoint", saved, "--data", bare[1], "--beam", 2)
    printed(translation.main, "--checkpoint", saved, "--data", bare[1], "--average", 2)
    assert {path.name for path in (saved / "evaluation").iterdir()} == {"best_beam2", "average2"}


def test_beam_and_penalty_of_a_checkpoint_are_chosen(bare):
    printed(sweep.main, "--checkpoint", bare[0], "--data", bare[1], "--beams", 1, "--lenpens", "0.6,1")
    chosen = json.loads((bare[0].parent / "sweep/mine/valid.json").read_text())["chosen"]
    assert chosen["bleu"] > 10 and (bare[0].parent / f"evaluation/mine_beam1_lenpen{chosen['lenpen']:g}").is_dir()


def test_checkpoints_of_fairseq_train_without_the_plugin_and_of_a_time_before_hydra(tmp_path):
    data = command_line.make_data(tmp_path)
    flags = [*command_line.ONE_CPU, *command_line.TRANSFORMER, *command_line.BASELINE, "--optimizer", "adam"]
    flags += ["--batch-size", 8, "--max-update", 4, "--no-epoch-checkpoints", "--eval-bleu-remove-bpe"]
    command_line.run(command_line.TRAIN, data, *flags, "--save-dir", tmp_path / "new")
    state = torch.load(tmp_path / "new/checkpoint_last.pt", weights_only=True)
    settings = {**vars(state["cfg"]["model"]), "task": "translation", "source_lang": "de", "target_lang": "en"}
    (tmp_path / "old").mkdir()
    torch.save(state | {"args": Namespace(**settings), "cfg": None}, tmp_path / "old/checkpoint_last.pt")
    made = []
    for name in ("new", "old"):
        where = ["--checkpoint", tmp_path / name / "checkpoint_last.pt", "--data", data]
        assert "joined as @@ " in printed(translation.main, *where)
        made.append(json.loads((tmp_path / name / "evaluation/checkpoint_last/test.json").read_text()))
    assert made[0] | {"checkpoint_sha256": ""} == made[1] | {"checkpoint_sha256": ""}
    assert made[0]["updates"] == 4 and made[0]["decoding"] == {"beam": 5, "lenpen": 1.0}


def test_settings_of_a_checkpoint_that_differ_from_fairseqs_are_those_of_its_decoding(bare):
    state = torch.load(bare[0], weights_only=True)
    config = safe_checkpoint.config_of(state)
    assert config.generation == {"beam": 3, "lenpen": 0.6, "max_len_a": 1.5, "max_len_b": 3}
    assert (config.task.source_lang, config.common.cpu) == ("de", True)


def test_references_have_unknown_words_that_no_hypothesis_equals(bare, tmp_path):
    data = shutil.copytree(bare[1], tmp_path / "binarized")
    rare = (data / "dict.en.txt").read_text().splitlines(keepends=True)
    (data / "dict.en.txt").write_text("".join(rare[:-1]))
    args = checkpoint_choice.ModelParser().parse_args(["--checkpoint", str(bare[0]), "--data", str(data)])
    read = decoding.read_run(args.run)
    (lines,) = read.references("tok", "test")
    assert len(lines) == 9 and "<unk>" not in " ".join(lines).split()
    assert "was trained with other dictionaries: its decoder has" in refused(
        translation.main, "--checkpoint", bare[0], "--data", data
    )


def test_sentencepiece_is_seen_in_the_dictionary(tmp_path):
    (tmp_path / "dict.en.txt").write_text("▁the 5\n▁a 4\ns 3\n")
    (tmp_path / "dict.de.txt").write_text("the 5\na@@ 4\n&apos;s 3\n")
    pieces, words = (decoding.PlainData(tmp_path, "fr", lang, None) for lang in ("en", "de"))
    assert (pieces.post_process, words.post_process) == ("sentencepiece", "subword_nmt")
    assert (pieces.prepared.escaped, words.prepared.escaped) == (False, True)


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "the following arguments are required: RUN, or --checkpoint FILE --data BIN (see --help)"),
        (["--checkpoint", "FILE"], "--checkpoint FILE and --data BIN go together"),
        (["RUN", "--data", "BIN"], "--checkpoint FILE and --data BIN go together"),
        (["RUN", "--checkpoint", "FILE", "--data", "BIN"], "--checkpoint stands in place of RUN: leave out"),
        (["FILE"], "is a file: give a run folder, or --checkpoint FILE --data BIN"),
        (["--checkpoint", "FILE", "--data", "BIN", "--average", "2"], "--average needs the folder of the checkpoints"),
        (["--checkpoint", "/none.pt", "--data", "BIN"], "there is no checkpoint /none.pt"),
        (["--checkpoint", "FILE", "--data", "/none"], "--data /none is no folder of fairseq-preprocess: it holds no"),
        (["--checkpoint", "BIN", "--data", "BIN"], "there is no checkpoint"),
        (["--checkpoint", "TEXT", "--data", "BIN"], "dict.de.txt is cut short, or no checkpoint"),
        (["--checkpoint", "FILE", "--checkpoint", "FILE", "--data", "BIN"], "are one run: give each run once"),
    ],
)
def test_bad_input_is_refused_in_one_line(bare, learned, options, words):
    places = {"FILE": bare[0], "BIN": bare[1], "RUN": learned, "TEXT": bare[1] / "dict.de.txt"}
    before = tree(bare[1].parent)
    assert words in refused(translation.main, *(places.get(option, option) for option in options))
    assert tree(bare[1].parent) == before


def test_a_model_of_another_kind_is_refused(bare, learned):
    where = ("--checkpoint", bare[0], "--data", bare[1])
    assert "mine.pt is no run of a language model: its task is rdrop_translation" in refused(
        language_model.main, *where
    )
    assert "one model at a time, not 2" in refused(language_model.main, learned, learned)


def test_words_after_the_runs(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    a, b, c = (str(tmp_path / name) for name in ("a", "b", "c"))

    def read(several: bool, *words: str) -> tuple[list[str], list[str]]:
        found = checkpoint_choice.ModelParser(several=several, rest=True).parse_args(words)
        return [str(run) for run in found.runs], found.rest

    assert read(True, a, b, "text", c) == ([a, b], ["text", c])
    assert read(True, "--average", "2", a, "text") == ([a], ["text"])
    assert read(False, a, b) == ([a], [b])
    assert read(True, a) == ([a], [])
    assert read(True, "--checkpoint", f"{a}/x.pt", "--data", b, a, "text") == ([f"{a}/x.pt"], [a, "text"])
