"""Pairs whose targets a model has made, by the scripts: beside the test set, in the training, among the scores."""

import json
from pathlib import Path

import pytest
from recipes.data.prepared import read_prepared
from recipes.evaluation import translation
from support import command_line
from support.in_process import printed
from support.places import ROOT
from support.prepare import lines, prepared
from support.toy_run import SMALL

SETS = {"train": 12, "valid": 3, "test": 4, "test_pseudo": 6}


def write_pairs(folder: Path) -> Path:
    """Write the pairs of each set. The targets that stand for a model's are one word, the others four."""
    folder.mkdir()
    for name, count in SETS.items():
        for lang, text in (("de", "Das ist Satz Nummer {}."), ("en", "This is number {}.")):
            text = "Number." if (name, lang) == ("test_pseudo", "en") else text
            (folder / f"{name}.{lang}").write_text("".join(f"{text.format(row)}\n" for row in range(count)))
    return folder


def test_pseudo_targets_give_their_divergence_alone(tmp_path):
    source = write_pairs(tmp_path / "text")
    options = ("--pair", "de-en", "--from", source, "--out", tmp_path / "data", "--bpe", 40, "--workers", 1)
    prepared("prepare_text.sh", *options, plain=True, fairseq=True)
    assert read_prepared(tmp_path / "data").testsets == ["test", "test_pseudo"]  # fairseq's test and test1
    typed = [f"task.data={tmp_path}/data/bin", "task.rdrop_unlabeled_subset=test1", "criterion.rdrop_unlabeled_alpha=1"]
    tiny = [*SMALL, "optimization.max_update=2", "common.cpu=true", "common.log_interval=1"]
    tiny += ["criterion.label_smoothing=0", "generation.beam=1", "generation.max_len_b=5"]
    config, run = ROOT / "configs/multi30k_deen/rdrop.yaml", tmp_path / "run"
    result = command_line.run("support.forked_training", config, *typed, *tiny, "--out", run)
    assert f"Next: scripts/evaluate_translation.sh {run}" in result.stdout
    labeled, unlabeled = (
        sum(len(line.split(" ")) + 1 for line in lines(tmp_path / f"data/bpe/{name}.en"))
        for name in ("train", "test_pseudo")
    )
    assert len(result.updates) == 2
    for update in result.updates:  # each of all 18 pairs
        assert (update["bsz"], update["wpb"]) == (18, labeled + unlabeled)
        of_pseudo = unlabeled * update["unlabeled_kl_loss"]
        of_train = (labeled + unlabeled) * update["kl_loss"] - of_pseudo
        assert of_pseudo > 0 and of_train > 0
        expected = (2 * labeled * update["nll_loss"] + 5 * of_train + of_pseudo) / (labeled + unlabeled)
        assert update["loss"] == pytest.approx(expected, abs=0.005)
    printed(translation.main, run)
    scores = {file.stem: json.loads(file.read_text()) for file in (run / "evaluation/best").glob("*.json")}
    assert {name: found["sentences"] for name, found in scores.items()} == {"test": 4, "test_pseudo": 6}
