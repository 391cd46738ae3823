"""Sentences from files to scores, at a tiny size: RoBERTa's weights, each recipe, a study; and what is refused."""

import json
import re
from argparse import Namespace
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy
import pytest
import torch
from omegaconf import OmegaConf
from recipes.evaluation import curves, report, sentence_prediction, significance
from recipes.evaluation.measures import OF_SENTENCES
from recipes.training import start_from
from recipes.training.run_folder import RunFolder
from support import command_line
from support.chinese import write_sentiment, write_tnews
from support.glue import write_glue, write_roberta
from support.in_process import printed, refused
from support.places import ROOT
from support.prepare import lines, prepared

import rdrop_fairseq.tasks  # noqa: F401  (makes fairseq's checkpoints loadable)

TINY = [
    *("model.encoder_layers=1", "model.encoder_embed_dim=16", "model.encoder_ffn_embed_dim=16"),
    *("model.encoder_attention_heads=2", "common.cpu=true", "common.fp16=false", "dataset.num_workers=0"),
    *("dataset.batch_size=4", "optimization.update_freq=[1]", "lr_scheduler.warmup_updates=1", "task.max_positions=64"),
]
PREPARE = "prepare_glue.sh"


def made(folder: Path, task: str, *options: object) -> list[str]:
    """Prepare a task; return the settings that train a tiny model on it."""
    source = write_glue(folder / "source", task)
    prepared(PREPARE, task, "--from", source, "--out", folder / "data", *options, plain=True, fairseq=True)
    return [*TINY, f"task.data={folder}/data/bin"]


def trained(config: str, folder: Path, *options: object) -> Path:
    result = command_line.run("support.forked_training", ROOT / config, "--out", folder, *options, succeeds=False)
    assert (result.status, result.stderr) == (0, ""), result.stdout[-3000:] + result.stderr
    assert f"Next: scripts/evaluate_glue.sh {folder}" in result.stdout
    return folder


def scored(run: Path, name: str = "valid") -> dict:
    return json.loads((run / f"evaluation/best/{name}.json").read_text())


def logged(run: Path, key: str) -> float:
    """Return what the validation logged for the checkpoint that is the best one."""
    log = curves.read_log(run / "train.log")
    return log["valid"][curves.best_update(log["saved"], True)][key]


def write_pretrained(path: Path, settings: list[str]) -> dict[str, torch.Tensor]:
    """Write weights as RoBERTa's are: in the file of an older PyTorch, by older names, without a head.

    Return them by today's names.
    """
    cfg = OmegaConf.merge(OmegaConf.load(ROOT / "configs/glue/rte.yaml"), OmegaConf.from_dotlist(settings))
    torch.manual_seed(1)
    weights = start_from.new_model(cfg).state_dict()
    weights = {name: value for name, value in weights.items() if not name.startswith("classification_heads")}
    named = dict[str, torch.Tensor]()
    for name, value in weights.items():
        former = f"decoder.{name.removeprefix('encoder.')}".replace(".layernorm_embedding.", ".emb_layer_norm.")
        if ".q_proj." in former:  # one matrix held all three
            three = [weights[name.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"]
            named[former.replace("q_proj.", "in_proj_")] = torch.cat(three)
        elif not re.search(r"\.[kv]_proj\.", former):
            named[former] = value
    history = [{"criterion_name": "MaskedLmLoss", "optimizer_name": "FP16Optimizer", "num_updates": 500_000}]
    history[0]["lr_scheduler_state"] = {}
    state = {"args": Namespace(arch="roberta_large", task="masked_lm"), "model": named, "optimizer_history": history}
    torch.save(state | {"extra_state": {}}, path, _use_new_zipfile_serialization=False)
    return weights


def test_roberta_is_fine_tuned_from_its_weights_and_scored(tmp_path):
    settings = made(tmp_path, "RTE", "--roberta", write_roberta(tmp_path / "roberta"), "--workers", "1")
    weights = write_pretrained(tmp_path / "roberta/model.pt", settings)
    start = (*settings, "--from", tmp_path / "roberta/model.pt", "optimization.max_update=2")
    run = trained("configs/glue/rte.yaml", tmp_path / "run", *start, "optimization.lr=[0.0]")
    of_run = torch.load(run / "checkpoints/checkpoint_best.pt", weights_only=True)["model"]
    assert len(weights) > 20 and all(torch.equal(of_run[name], value) for name, value in weights.items())
    assert [line[66:] for line in lines(run / "dictionaries.txt")] == ["input0/dict.txt", "label/dict.txt"]
    text = printed(sentence_prediction.main, run)
    assert f"valid: accuracy {scored(run)['accuracy']:.2f} (6 rows)\n" in text
    assert round(scored(run)["accuracy"], 1) == logged(run, "accuracy") and scored(run)["sentences"] == 6
    predicted, labels = (lines(file) for file in (run / "evaluation/best/valid.predictions",
                                                  tmp_path / "data/raw/valid.label"))  # fmt: skip
    right = [one == other for one, other in zip(predicted, labels, strict=True)]
    assert scored(run)["accuracy"] == pytest.approx(100 * sum(right) / 6)

    cut = tmp_path / "cut.pt"
    cut.write_bytes((tmp_path / "roberta/model.pt").read_bytes()[:-200])
    cfg = OmegaConf.load(run / "train.yaml")
    with pytest.raises(SystemExit, match=r"cut\.pt is cut short, or no checkpoint of fairseq"):
        start_from.find_start(cut, cfg, RunFolder(tmp_path / "other"))
    cfg.model.encoder_layers = 2
    with pytest.raises(
        SystemExit, match=r"another architecture: only the config has encoder\.sentence_encoder\.layers\.1"
    ):
        start_from.find_start(tmp_path / "roberta/model.pt", cfg, RunFolder(tmp_path / "other"))
    (tmp_path / "data/bin/label/dict.txt").write_text("entailment 1\nnot_entailment 1\n")
    assert "is not the dictionary that" in refused(sentence_prediction.main, run)


class Recipe(NamedTuple):
    """How the data of a config is made, and what is scored.

    Attributes:
        words: writes the stand-in to a folder, and returns the prepare script and its arguments.
        sets: how many rows each set with labels has.
        f1: whether F1 is a score, beside the accuracy.
    """

    words: Callable[[Path], list[object]]
    sets: dict[str, int]
    f1: bool = False


def glue_words(task: str, folder: Path) -> list[object]:
    source = write_glue(folder / "source", task)
    if task == "MNLI":  # one row less than in the other dev set
        other = source / "dev_mismatched.tsv"
        other.write_text("".join(other.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    return [PREPARE, task, "--roberta", write_roberta(folder / "roberta"), "--from", source]


def clue_words(task: str, labels: tuple[str, ...], folder: Path) -> list[object]:
    return ["prepare_clue.sh", task, "--from", write_tnews(folder / "source", labels)]


def sentiment_words(folder: Path) -> list[object]:
    return ["prepare_sentiment_zh.sh", "--labeled", 3, "--from", write_sentiment(folder / "source")]


def of_glue(task: str, f1: bool = False, **more: int) -> Recipe:
    return Recipe(partial(glue_words, task), {"valid": 6, **more}, f1)


SENTIMENT = Recipe(sentiment_words, {"valid": 4, "test": 4})
IFLYTEK = Recipe(partial(clue_words, "iflytek", ("0", "118", "7")), {"valid": 4})
TNEWS = Recipe(partial(clue_words, "tnews", ("100", "116", "104")), {"valid": 4})
RECIPES = {
    "glue/mrpc": of_glue("MRPC", f1=True),
    "glue/qnli": of_glue("QNLI"),
    "glue/qqp": of_glue("QQP", f1=True),
    "glue/sst2": of_glue("SST-2"),
    "glue/mnli": of_glue("MNLI", mismatched=5),
    "iflytek/baseline": IFLYTEK,
    "iflytek/rdrop": IFLYTEK,
    "tnews/baseline": TNEWS,
    "tnews/rdrop": TNEWS,
    "sentiment_zh/baseline": SENTIMENT,
    "sentiment_zh/rdrop": SENTIMENT,
    "sentiment_zh/semi": SENTIMENT,
}


@pytest.fixture(scope="module")
def data_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable], Path]:
    """Prepare the data of a recipe, once for all of its configs; return its folder."""

    @cache
    def make(words: Callable[[Path], list[object]]) -> Path:
        folder = tmp_path_factory.mktemp("recipe")
        prepared(*words(folder), "--out", folder / "data", "--workers", 1, plain=True, fairseq=True)
        return folder / "data"

    return make


@pytest.mark.parametrize("config", RECIPES)
def test_each_recipe_ends_with_its_scores(config, data_of, tmp_path):
    """From the stand-in of the published files, by the scripts; the scores are counted here again."""
    words, sets, f1 = RECIPES[config]
    data, semi, rdrop = data_of(words), config.endswith("semi"), not config.endswith("baseline")
    updates = 12 if f1 else 2  # 12 teach a model to say both classes
    settings = [*TINY, f"task.data={data}/bin", "dataset.batch_size=12", f"optimization.max_update={updates}"]
    settings += ["optimization.lr=[0.06]", "dataset.validate_interval=100", "checkpoint.save_interval=100"]
    settings += ["task.rdrop_upsample_labeled=1"] * semi  # not 100: each batch has reviews without a label
    run = trained(f"configs/{config}.yaml", tmp_path / "run", *settings)
    epochs = curves.read_log(run / "train.log")["train"].values()
    found = [max(epoch.get(key, 0) for epoch in epochs) > 0 for key in ("kl_loss", "unlabeled_kl_loss")]
    assert found == [rdrop, semi]
    text = printed(sentence_prediction.main, run)
    assert {path.stem for path in (run / "evaluation/best").glob("*.json")} == {*sets}
    for name, rows in sets.items():
        predicted, labels = (lines(file) for file in (run / f"evaluation/best/{name}.predictions",
                                                      data / f"raw/{name}.label"))  # fmt: skip
        pairs = list(zip(predicted, labels, strict=True))
        expected = {"accuracy": 100 * sum(one == other for one, other in pairs) / rows}
        if f1:
            assert {*predicted} == {"0", "1"}
            expected["f1"] = 200 * pairs.count(("1", "1")) / (predicted.count("1") + labels.count("1"))
        found = scored(run, name)
        assert {key: found[key] for key in OF_SENTENCES if key in found} == pytest.approx(expected)
        assert (found["sentences"], found["updates"]) == (rows, updates)
        assert f"{name}: accuracy {expected['accuracy']:.2f}" in text
        if name == "valid":
            assert {key: logged(run, key) for key in expected} == pytest.approx(expected, abs=0.06)


def test_a_study_over_seeds_compares_the_baseline_and_rdrop(tmp_path):
    study = tmp_path
    settings = made(study, "CoLA", "--bpe", "40", "--workers", "1")
    where = ("--seeds", "1,2", "--jobs", "1", "--runs", study / "runs", "--out", study / "out")
    config = ROOT / "configs/glue_small/cola.yaml"
    result = command_line.run("support.forked_study", "seeds", config, *settings, "optimization.max_update=3", *where)
    assert (result.status, result.stderr) == (0, ""), result.stdout + result.stderr
    runs = [study / f"runs/{name}/seed{seed}" for name in ("alpha0", "rdrop") for seed in (1, 2)]
    for run in runs:
        assert scored(run).keys() > {"mcc", "accuracy"} and "f1" not in scored(run)
        assert round(scored(run)["mcc"], 1) == logged(run, "mcc")
    divergence = [curves.read_log(run / "train.log")["train"][3]["kl_loss"] for run in runs]
    assert divergence[:2] == [0, 0] and min(divergence[2:]) > 0  # of alpha 0 it is 0
    text = (study / "out/table.md").read_text()
    assert "## best validation Matthews (higher is better)" in text and "## valid Matthews (higher" in text
    assert (study / "out/figure.png").read_bytes().startswith(b"\x89PNG")
    table = printed(report.main, "--out", study / "report", *runs)
    header = [cell.strip() for cell in table.splitlines()[0].split("|")[1:-1]]
    assert header == ["run", "seed", "updates", "minutes", "best at", "valid Matthews", "valid accuracy"]
    assert (study / "report/curves.png").exists()


def test_groups_of_such_runs_are_compared_over_seeds(tmp_path):
    def made_up(name: str, seed: int, accuracy: float, sentences: int = 6) -> Path:
        folder = tmp_path / name / f"seed{seed}"
        (folder / "evaluation/best").mkdir(parents=True)
        (folder / "train.yaml").write_text(f"task: {{_name: rdrop_sentence_prediction}}\ncommon: {{seed: {seed}}}\n")
        of = {"sentences": sentences, "mcc": 10.0, "accuracy": accuracy, "checkpoint": "best", "updates": 3}
        (folder / "evaluation/best/valid.json").write_text(json.dumps(of))
        return folder

    a, b = ([made_up(name, seed, first + seed) for seed in (1, 2)] for name, first in (("base", 50), ("rdrop", 53)))
    text = printed(significance.main, *a, "--", *b)
    assert f"A: {a[0]} (seed 1; best)\n" in text and "valid (6 sentences)\n" in text and "bootstrap" not in text
    (row,) = (line for line in text.splitlines() if line.startswith("| accuracy"))
    # Both differences are 3, so that Wilcoxon's p of two seeds is 0.5; the deviation is 0.71 in both groups.
    numbers = [cell.strip() for cell in row.split("|")[2:-1]]
    assert numbers == ["51.50 ± 0.71", "54.50 ± 0.71", "+3.00", "0.5000", "4.24"]
    other = made_up("other", 1, 50.0, sentences=7)
    line = refused(significance.main, other, "--", *b)
    assert line == f"valid: {other} has Matthews, accuracy of 7 sentences, {b[0]} Matthews, accuracy of 6 sentences"
    (other / "train.yaml").write_text("task: {_name: translation}\n")
    assert "has no bleu: evaluate the run again" in refused(significance.main, *b, "--", other)


def test_numbers_are_learned_and_scored_by_their_correlation(tmp_path):
    settings = made(tmp_path, "STS-B", "--bpe", "40", "--workers", "1")
    run = trained("configs/glue_small/stsb.yaml", tmp_path / "run", *settings, "optimization.max_update=4")
    assert "pearson" in printed(sentence_prediction.main, run).lower()
    assert scored(run).keys() >= {"pearson", "spearman"} and "accuracy" not in scored(run)
    predicted, labels = (list(map(float, lines(file))) for file in (run / "evaluation/best/valid.predictions",
                                                                    tmp_path / "data/raw/valid.label"))  # fmt: skip
    assert scored(run)["pearson"] == pytest.approx(100 * numpy.corrcoef(predicted, labels)[0, 1], abs=1e-3)
    assert round(scored(run)["pearson"], 1) == logged(run, "pearson")
    (run / "train.yaml").write_text((run / "train.yaml").read_text().replace("rdrop_sentence_prediction", "other"))
    assert "predicts nothing about sentences: its task is other" in refused(sentence_prediction.main, run)


@pytest.mark.parametrize(
    "flags, expected",
    [
        ({}, {"accuracy": 75}),
        # 2 true positives, 1 false positive, 1 true negative: F1 = 4/5, mcc = (2*1 - 1*0) / sqrt(3*2*2*1)
        ({"report_mcc": True, "report_acc_and_f1": True}, {"mcc": 100 / 3**0.5, "accuracy": 75, "f1": 80}),
    ],
)
def test_the_scores_of_classes_by_hand(flags, expected):
    found = sentence_prediction.score(numpy.array([1, 1, 1, 0]), numpy.array([1, 1, 0, 0]), flags)
    assert found == pytest.approx(expected)


def test_the_scores_of_numbers_by_hand():
    """Deviations -1, 0, 1 and -2, -1, 3: Pearson 5 / sqrt(2 * 14); the ranks are equal."""
    found = sentence_prediction.score(numpy.array([1.0, 2, 3]), numpy.array([0.0, 1, 5]), {"regression_target": True})
    assert found == pytest.approx({"pearson": 100 * 5 / 28**0.5, "spearman": 100})


def test_the_sets_with_labels_are_called_as_their_preparation_says(tmp_path):
    (tmp_path / "bin/label").mkdir(parents=True)
    for name in ("dict.txt", "train.bin", "valid.bin", "test.bin", "test1.bin", "test1.idx"):
        (tmp_path / "bin/label" / name).touch()
    data = tmp_path / "bin"
    assert sentence_prediction.splits_of(data, "bin") == {"valid": "valid", "test": "test", "test1": "test1"}
    settings = {"script": "prepare_glue.sh", "options": {}, "sources": {}, "lowercase": False, "escaped": False}
    (tmp_path / "settings.json").write_text(json.dumps(settings | {"testsets": ["mismatched", "other"]}))
    assert list(sentence_prediction.splits_of(data, "bin").values()) == ["valid", "mismatched", "other"]
    assert sentence_prediction.splits_of(data, "label") == {}
