"""scripts/evaluate_lm.sh: the perplexity of a run of train.sh, what is counted, and what is refused."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from fairseq import checkpoint_utils
from fairseq.data import data_utils
from recipes.evaluation import language_model, report, safe_checkpoint
from support import command_line, toy_run
from support.in_process import call, printed, refused
from support.learned_run import contents, train_run, tree

import rdrop_fairseq  # noqa: F401  (registers the task, lets the checkpoints load)

SAMPLE = 8
CONFIG = """
common: {log_format: json, log_interval: 1, cpu: true}
checkpoint: {save_interval_updates: 3, no_epoch_checkpoints: true}
distributed_training: {ddp_backend: legacy_ddp}
task:
  _name: rdrop_language_modeling
  tokens_per_sample: 8
  add_bos_token: false
  max_target_positions: null
dataset: {batch_size: 8, required_batch_size_multiple: 1, validate_interval_updates: 3, num_workers: 0}
optimizer: {_name: adam}
lr_scheduler: {_name: fixed}
optimization: {lr: [0.02], max_update: 12}
model:
  _name: transformer_lm
  decoder_layers: 1
  decoder_embed_dim: 16
  decoder_input_dim: 16
  decoder_output_dim: 16
  decoder_ffn_embed_dim: 16
  decoder_attention_heads: 2
"""
ADAPTIVE = {"adaptive_softmax_cutoff": "8,14", "adaptive_softmax_factor": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Binarized text, some words of its validation and test set unknown; the text itself is beside it."""
    folder = tmp_path_factory.mktemp("text")
    command_line.make_text(folder)
    for split in ("valid", "test"):
        text = folder / f"{split}.txt"
        text.write_text(text.read_text().replace("word3", "unheard"))
    shutil.rmtree(folder / "bin")
    prefixes = (f"--{split}pref={folder / split}.txt" for split in ("train", "valid", "test"))
    command_line.run(command_line.PREPROCESS, "--only-source", *prefixes, "--destdir", folder / "bin")
    return folder / "bin"


@pytest.fixture(scope="module", params=["plain", "adaptive"])
def run_folder(request: pytest.FixtureRequest, data: Path) -> Path:
    """Return a run of train.sh, and one of fairseq-hydra-train."""
    config = yaml.safe_load(CONFIG)
    config["task"]["data"] = str(data)
    config["criterion"] = {"_name": "rdrop_adaptive_loss" if request.param == "adaptive" else "rdrop_cross_entropy"}
    config["model"] |= ADAPTIVE if request.param == "adaptive" else {}
    folder = data.parent / request.param
    if request.param == "adaptive":
        return train_run(folder / "seed1", config)
    folder.mkdir()
    (folder / "rdrop.yaml").write_text(yaml.safe_dump(config))
    result = command_line.run("support.forked_training", folder / "rdrop.yaml", "--out", folder / "seed1")
    assert f"Next: scripts/evaluate_lm.sh {folder}/seed1" in result.stdout
    return folder / "seed1"


def fairseqs_loss(run_folder: Path, data: Path, split: str, window: int, sample: int = SAMPLE) -> float:
    where = ("--path", run_folder / "checkpoints/checkpoint_best.pt", "--user-dir", command_line.USER_DIR, "--cpu")
    how = ("--gen-subset", split, "--tokens-per-sample", sample, "--context-window", window, "--batch-size", 2)
    result = command_line.run(command_line.EVAL_LM, data, *where, *how, "--num-workers", 0)
    return float(re.search(r"Loss \(base 2\): ([\d.]+)", result.stdout)[1])


@pytest.mark.parametrize("window", [None, 0, 7])
def test_perplexity_is_fairseqs(run_folder, data, window):
    options = () if window is None else ("--context-window", window)
    text = printed(language_model.main, run_folder, *options)
    used = 3 * SAMPLE // 4 if window is None else window
    folder = run_folder / "evaluation" / ("best" if window is None else f"best_window{window}")
    for split in ("valid", "test"):
        scored = json.loads((folder / f"{split}.json").read_text())
        assert scored["loss"] == pytest.approx(fairseqs_loss(run_folder, data, split, used), abs=1e-4)
        assert scored["perplexity"] == pytest.approx(2 ** scored["loss"])
        original = (data.parent / f"{split}.txt").read_text()
        lines, words = original.count("\n"), original.split()
        counts = {"tokens": len(words) + lines, "lines": lines, "unk": words.count("unheard")}
        assert scored.items() > (counts | {"tokens_per_sample": SAMPLE, "context_window": used}).items()
        assert counts["unk"] > 0
        assert f"{split}: perplexity {scored['perplexity']:.2f} ({scored['loss']:.4f} bits a word)" in text
        assert f"all {counts['tokens']} tokens counted, none skipped; {lines} are ends of lines" in text
        assert f"samples of {SAMPLE} tokens, context window {used}" in text
        best = (run_folder / "checkpoints/checkpoint_best.pt").read_bytes()
        assert scored["checkpoint"] == "best" and scored["checkpoint_sha256"] == hashlib.sha256(best).hexdigest()
        assert 0 < scored["updates"] <= 12
    assert f"The numbers are in {folder}" in text


def test_shorter_samples_than_those_of_training(run_folder, data):
    """The paper evaluates on samples of 512 words a model that was trained on 3,072."""
    printed(language_model.main, run_folder, "--tokens-per-sample", 6)
    scored = json.loads((run_folder / "evaluation/best_tokens6/test.json").read_text())
    assert scored["tokens_per_sample"] == 6 and scored["context_window"] == 4
    assert scored["loss"] == pytest.approx(fairseqs_loss(run_folder, data, "test", 4, 6), abs=1e-4)


@pytest.mark.parametrize(("trained", "sample"), [(8, 8), (512, 512), (3072, 512)])
def test_samples_are_those_of_training_up_to_those_of_the_paper(trained, sample):
    assert language_model.choose_samples(None, None, trained) == (sample, {8: 6, 512: 400}[sample])


@pytest.mark.parametrize("run_folder", ["plain"], indirect=True)
def test_training_on_samples_that_are_cut_at_lines(run_folder, data, tmp_path):
    copy = shutil.copytree(run_folder, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluation"))
    for path in (copy / "checkpoints").iterdir():
        state = torch.load(path, weights_only=True)
        state["cfg"]["task"] |= {"sample_break_mode": "complete_doc", "shorten_method": "truncate"}
        state["cfg"]["task"]["pad_to_fixed_length"] = True
        torch.save(state, path)
    for run in (copy, run_folder):
        printed(language_model.main, run)
    scored, expected = (json.loads((run / "evaluation/best/test.json").read_text()) for run in (copy, run_folder))
    assert scored | {"checkpoint_sha256": expected["checkpoint_sha256"]} == expected


@pytest.mark.parametrize("run_folder", ["plain"], indirect=True)
def test_a_model_of_nan_is_no_result(run_folder, tmp_path):
    copy = shutil.copytree(run_folder, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluation"))
    for path in (copy / "checkpoints").iterdir():
        state = torch.load(path, weights_only=True)
        state["model"]["decoder.embed_tokens.weight"].fill_(float("nan"))
        torch.save(state, path)
    assert "valid: the loss is nan; did the training diverge?" in refused(language_model.main, copy)
    assert not list((copy / "evaluation").glob("*"))


def _spoil_task(state: dict) -> None:
    state["cfg"]["task"]["_name"] = "translation"


def _spoil_sample(state: dict) -> None:
    state["cfg"]["task"]["tokens_per_sample"] = "many"


def _spoil_model(state: dict) -> None:
    state["model"].popitem()


def _spoil_filters(state: dict) -> None:
    state["cfg"]["model"] = safe_checkpoint.items(state["cfg"]["model"]) | {"character_filters": "print(1)"}


@pytest.mark.parametrize("run_folder", ["plain"], indirect=True)
@pytest.mark.parametrize(
    "spoil, words",
    [
        (_spoil_task, "checkpoint_best.pt is no language model: its task is translation"),
        (_spoil_sample, "failed: "),
        (_spoil_model, "failed: Error(s) in loading state_dict"),
        (_spoil_filters, "fairseq could run its character_filters as a program: print(1)"),
    ],
)
def test_a_checkpoint_that_does_not_load_is_one_line(run_folder, tmp_path, spoil, words):
    copy = shutil.copytree(run_folder, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluation"))
    best = copy / "checkpoints/checkpoint_best.pt"
    state = torch.load(best, weights_only=True)
    spoil(state)
    torch.save(state, best)
    before = tree(copy)
    line = refused(language_model.main, copy)
    assert words in line and "checkpoint_best.pt" in line
    assert call(language_model.main, copy).stdout == ""
    assert tree(copy) == before and not list(copy.rglob(".*.part"))


def test_every_word_sees_the_words_of_its_window(run_folder, data):
    """With a window of all but one, each word is scored after exactly the eight before it, computed one by one here."""
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task(
        [str(run_folder / "checkpoints/checkpoint_best.pt")]
    )
    model.eval()
    lines = data_utils.load_indexed_dataset(str(data / "valid"), task.dictionary)
    words = [word for i in range(len(lines)) for word in lines[i].tolist()]
    before = [task.dictionary.eos(), *words]  # fairseq begins a text after an end of sentence
    nll = 0.0
    for i, word in enumerate(words):
        context = lines[0].new_tensor([before[max(0, i + 1 - SAMPLE) : i + 1]])
        net_output = model(context, src_lengths=None)
        nll -= model.get_normalized_probs(net_output, log_probs=True)[0, -1, word].item()
    printed(language_model.main, run_folder, "--context-window", SAMPLE - 1)
    scored = json.loads((run_folder / f"evaluation/best_window{SAMPLE - 1}/valid.json").read_text())
    assert scored["loss"] == pytest.approx(nll / len(words) / 0.6931472, rel=1e-5)


def test_window_0_is_the_validation_of_training(run_folder):
    printed(language_model.main, run_folder, "--context-window", 0)
    scored = json.loads((run_folder / "evaluation/best_window0/valid.json").read_text())
    best = min(map(float, re.findall(r'"valid_loss": "([\d.]+)"', (run_folder / "train.log").read_text())))
    if run_folder.parent.name == "adaptive":  # adaptive_loss leaves out a word of each cluster: a few of these here
        assert best <= scored["loss"] < best + 1
    else:
        assert scored["loss"] == pytest.approx(best, abs=1e-3)


def test_the_script_and_the_report(run_folder, tmp_path):
    if run_folder.parent.name == "adaptive":
        said = printed(language_model.main, run_folder, "--average", 2)
    else:
        result = toy_run.run("evaluate_lm.sh", run_folder, "--average", 2)
        assert (result.returncode, result.stderr) == (0, "")
        said = result.stdout
    assert contents(run_folder / "evaluation/average2").keys() == {"valid.json", "test.json"}
    assert json.loads((run_folder / "evaluation/average2/test.json").read_text())["checkpoint"] == "average2"
    assert not list(run_folder.glob(".average*"))
    before = tree(run_folder.parent)
    again = printed(language_model.main, run_folder, "--average", 2)
    assert again == said and tree(run_folder.parent) == before

    text = printed(report.main, "--out", tmp_path / "report", "--evaluation", "average2", run_folder)
    head, row = (line.split("|")[1:-1] for line in text.splitlines()[::2])
    shown = {name.strip(): cell.strip() for name, cell in zip(head, row, strict=True)}
    perplexity = json.loads((run_folder / "evaluation/average2/test.json").read_text())["perplexity"]
    assert shown["test perplexity"] == f"{perplexity:.2f}" and "valid perplexity" in shown and "valid BLEU" not in shown
    assert (tmp_path / "report/curves.png").read_bytes().startswith(b"\x89PNG")


def test_bad_input_is_one_line(run_folder, data, tmp_path):
    for options, words in (
        (("--context-window", 8), "--context-window 8: must be less than the tokens of a sample, 8"),
        (("--tokens-per-sample", 6, "--context-window", 6), "must be less than the tokens of a sample, 6"),
        (("--tokens-per-sample", 9), "--tokens-per-sample 9: must be at most the run's task.tokens_per_sample, 8"),
    ):
        assert words in refused(language_model.main, run_folder, *options)
    assert "must be an integer >= 0, not '-1'" in refused(language_model.main, run_folder, "--context-window=-1")
    assert "is no run folder of scripts/train.sh" in refused(language_model.main, tmp_path)
    assert "holds 3 checkpoints" in refused(language_model.main, run_folder, "--average", 4)
    (tmp_path / "train.yaml").write_text("task: {_name: rdrop_translation, data: bin, source_lang: de}\n")
    assert "no run of a language model: its task is rdrop_translation" in refused(language_model.main, tmp_path)


def with_data(run_folder: Path, data: Path, copy: Path) -> Path:
    """Return a copy of the run whose data is elsewhere."""
    shutil.copytree(run_folder, copy, ignore=shutil.ignore_patterns("evaluation", "tensorboard"))
    (copy / "train.yaml").write_text((run_folder / "train.yaml").read_text().replace(str(data), str(copy / "bin")))
    return copy


def test_data_that_does_not_fit_is_one_line(run_folder, data, tmp_path):
    copy = with_data(run_folder, data, tmp_path / "copy")
    assert f"{copy}/bin holds no prepared data (no dict.txt)" in refused(language_model.main, copy)

    shutil.copytree(data, copy / "bin")
    (copy / "dictionaries.txt").write_text(f"{'0' * 64}  dict.txt\n")
    assert f"{copy}/bin/dict.txt is not the dictionary that {copy} was trained" in refused(language_model.main, copy)
    (copy / "dictionaries.txt").unlink()
    with (copy / "bin/dict.txt").open("a") as words:
        words.writelines(f"new{i} 1\n" for i in range(8))
    line = refused(language_model.main, copy)
    assert f"checkpoint_best.pt does not fit the vocabulary of {copy}/bin, " in line

    shutil.copy(data / "dict.txt", copy / "bin")
    few = (data / "dict.txt").read_text().splitlines(keepends=True)[:6]  # less than a cutoff of adaptive softmax
    (copy / "bin/dict.txt").write_text("".join(few))
    assert f"checkpoint_best.pt does not fit the vocabulary of {copy}/bin, " in refused(language_model.main, copy)

    shutil.copy(data / "dict.txt", copy / "bin")
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    prefixes = (f"--trainpref={data.parent}/train.txt", f"--validpref={data.parent}/valid.txt", f"--testpref={empty}")
    shutil.rmtree(copy / "bin")
    known = ("--srcdict", data / "dict.txt")
    command_line.run(command_line.PREPROCESS, "--only-source", *prefixes, *known, "--destdir", copy / "bin")
    assert f"{copy}/bin has no test text, or an empty one" in refused(language_model.main, copy)
    for file in (copy / "bin").glob("test.*"):
        file.unlink()
    assert f"{copy}/bin has no test text" in refused(language_model.main, copy)
    assert not list((copy / "evaluation").glob("*")) or not (copy / "evaluation").exists()  # nothing half-made
