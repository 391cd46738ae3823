"""From texts to scores of summaries, the scripts one after the other: of BART, and from nothing."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from recipes.evaluation import curves, export, summarization, translate
from recipes.files import read_lines
from recipes.training.start_from import new_model
from support import command_line
from support.in_process import call, printed, refused
from support.places import ROOT
from support.prepare import prepared
from support.summaries import write_bart, write_csl, write_summaries
from support.toy_run import SMALL

import rdrop_fairseq.tasks  # noqa: F401  (registers the task, and makes fairseq's checkpoints loadable)

SMALL_BART = [size.replace("coder.", "coder_") for size in SMALL]
ON_CPU = ["common.fp16=false", "dataset.num_workers=0"]


def write_model(folder: Path, data: Path, config: Path) -> Path:
    """Write model.pt as BART is published: a row more for <mask>, and settings of another task in a Namespace."""
    cfg = OmegaConf.merge(OmegaConf.load(config), OmegaConf.from_dotlist([*SMALL_BART, f"task.data={data}"]))
    torch.manual_seed(1)
    state = dict(new_model(cfg).state_dict())
    for name, value in state.items():
        if name.endswith(("embed_tokens.weight", "output_projection.weight")):
            state[name] = torch.cat([value, torch.zeros(1, value.shape[1])])
    args = argparse.Namespace(arch="bart_large", task="denoising", criterion="cross_entropy", mask=0.3)
    history = [{"criterion_name": "CrossEntropyCriterion", "optimizer_name": "", "lr_scheduler_state": {}}]
    history[0]["num_updates"] = 500_000
    whole = {
        "args": args,
        "model": state,
        "optimizer_history": history,
        "extra_state": {},
        "last_optimizer_state": None,
    }
    torch.save(whole, folder / "model.pt")
    return folder / "model.pt"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of configs/cnn_dm_bart/rdrop.yaml for two updates, from a tiny BART. Its data is beside it."""
    folder = tmp_path_factory.mktemp("cnn_dm")
    bart, source = write_bart(folder / "bart"), write_summaries(folder / "source", "val", train=8)
    options = ("--from", source, "--bart", bart, "--out", folder / "data", "--workers", 1)
    prepared("prepare_cnn_dm.sh", *options, plain=True, fairseq=True)
    config = ROOT / "configs/cnn_dm_bart/rdrop.yaml"
    model = write_model(bart, folder / "data/bin", config)
    sizes = [
        "dataset.max_tokens=200",
        "optimization.update_freq=[1]",
        "optimization.max_update=2",
        "common.log_interval=1",
    ]
    # Positions for all summaries, but not for the texts: these are cut.
    cut = ["task.max_source_positions=20", "model.max_source_positions=1024"]
    overrides = [*SMALL_BART, *ON_CPU, *sizes, *cut, f"task.data={folder}/data/bin"]
    arguments = (config, "--from", model, "--out", folder / "run", "--cpu-processes", 1, *overrides)
    result = command_line.run("support.forked_training", *arguments)
    assert f"Starting from {model}" in result.stdout
    assert f"Next: scripts/evaluate_summarization.sh {folder}/run" in result.stdout
    assert result.column("rdrop_alpha") == [0.7, 0.7]
    return folder / "run"


def test_it_starts_from_bart_without_the_row_of_its_mask(run_folder):
    given = torch.load(run_folder.parent / "bart/model.pt", weights_only=True)["model"]
    trained = torch.load(run_folder / "checkpoints/checkpoint_last.pt", weights_only=True)["model"]
    key = "encoder.embed_tokens.weight"
    assert len(given[key]) == len(trained[key]) + 1
    assert (trained[key] - given[key][:-1]).abs().max() < 0.01  # two updates at a small learning rate


def test_it_is_decoded_and_scored_as_text(run_folder):
    text = printed(summarization.main, run_folder, "--beam", 2, "--max-len-b", 9, "--min-len", 3)
    folder = run_folder / "evaluation/best_beam2_max-len-b9_min-len3"
    result = json.loads((folder / "test.json").read_text())
    changed = {"beam": 2, "max_len_b": 9, "min_len": 3}
    assert result["decoding"] == {"lenpen": 2.0, "no_repeat_ngram_size": 3, "max_len_a": 0} | changed
    assert (result["sentences"], result["scored_as_empty"]) == (3, 0)
    assert "test (3 summaries" in text
    assert read_lines(folder / "test.txt.ref0") == read_lines(run_folder.parent / "data/raw/test.target")
    assert len(read_lines(folder / "test.txt")) == 3


def test_a_model_with_this_bpe_is_not_exported(run_folder, tmp_path):
    line = refused(export.main, run_folder, tmp_path / "export", "--to", "ctranslate2")
    assert line == "the subwords are GPT-2: a model with these is not exported"
    assert not (tmp_path / "export").exists()


def test_other_texts_are_summarized_by_translate_sh(run_folder, tmp_path):
    text = tmp_path / "text"
    text.write_text("the end. " * 400 + "\n")
    result = call(translate.main, run_folder, text, "--beam", 1)
    assert (result.status, result.stdout.count("\n")) == (0, 1)
    assert result.stderr == "command: text: line 1 is longer than the model's 1,024 positions: its end is cut\n"


def test_titles_of_chinese_abstracts_are_scored_by_characters(tmp_path):
    """From a stand-in of CSL to scores, of which one is counted here again."""
    rows = [("针对 Deep  Learning 的方法", "深度学习"), ("提出了一种算法", "学习算法"), ("结果表明", "学习 GAN")]
    source = write_csl(tmp_path / "source", dict.fromkeys(("train", "dev", "test"), rows))
    prepared("prepare_csl.sh", "--from", source, "--out", tmp_path / "data", "--workers", 1, plain=True, fairseq=True)
    rate = ["optimization.max_update=5", "optimization.lr=[0.1]", "lr_scheduler.warmup_updates=1"]
    overrides = [*SMALL, *ON_CPU, *rate, "dataset.validate_interval=100", f"task.data={tmp_path}/data/bin"]
    run = tmp_path / "run"
    config = ROOT / "configs/csl/rdrop.yaml"
    result = command_line.run("support.forked_training", config, "--out", run, "--cpu-processes", 1, *overrides)
    assert f"Next: scripts/evaluate_summarization.sh {run}" in result.stdout
    assert curves.read_log(run / "train.log")["train"][5]["kl_loss"] > 0
    printed(summarization.main, run)
    folder = run / "evaluation/best"
    found = json.loads((folder / "test.json").read_text())
    made, titles = (read_lines(folder / f"test.txt{end}") for end in ("", ".ref0"))
    assert titles == read_lines(tmp_path / "data/raw/test.target")
    # F1 of the sets of characters, in lower case and without spaces.
    sets = [[{*"".join(text.lower().split())} for text in texts] for texts in (made, titles)]
    ones = [2 * len(one & other) / (len(one) + len(other)) for one, other in zip(*sets, strict=True)]
    assert found["rouge1"] == pytest.approx(100 * sum(ones) / 3, abs=0.01) and found["rouge1"] > 0
    assert "tok:char" in found["rouge_signature"] and found["character_bleu"] > 0
