"""The configs of language models: each resolves through fairseq to the settings of the paper and the official scripts.

For the sources, [P], [S] and [F], see test_configs.py.
"""

import re
from ast import literal_eval

import pytest
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import build_model
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask
from omegaconf import OmegaConf
from support.configs import CONFIGS, names, resolved
from support.helpers import dictionary

LM_SCORES = {  # [P]: perplexity of the baseline and of R-Drop
    "wikitext103_gpt": ("25.76 on valid, 26.62 on test", "23.97 on valid, 24.94 on test"),
    "wikitext103_adaptive": ("18.94 on valid, 18.87 on test", "18.18 on valid, 18.07 on test"),
}
OF_LM = {
    "common.fp16": True,  # [S]
    "task._name": "rdrop_language_modeling",
    "task.data": "data/wikitext103/bin",
    "criterion.sentence_avg": False,
    "dataset.batch_size": None,
    "dataset.skip_invalid_size_inputs_valid_test": True,  # [S]
    "distributed_training.distributed_world_size": 8,  # [P, S]
    "distributed_training.ddp_backend": "legacy_ddp",  # [S]; no_c10d is its other name
    "checkpoint.best_checkpoint_metric": "loss",
    "checkpoint.patience": -1,
    "optimization.max_epoch": 0,
    "lr_scheduler.warmup_init_lr": 1e-7,  # [S]
}
RDROP = {"divergence": "symmetric", "passes": 2, "every": 1, "warmup_updates": 0, "dropouts": None}
LM_RECIPES = {
    "wikitext103_gpt": {
        "task.tokens_per_sample": 512,  # [S]
        "dataset.max_tokens": 2000,  # [S]
        "optimizer._name": "adam",  # [S], as all of the following
        "optimizer.adam_betas": (0.9, 0.98),
        "optimizer.weight_decay": 0.01,
        "lr_scheduler._name": "inverse_sqrt",
        "lr_scheduler.warmup_updates": 4000,
        "optimization.lr": [5e-4],
        "optimization.clip_norm": 0.0,
        "optimization.update_freq": [16],
        "optimization.max_update": 50000,  # and [P]
    },
    "wikitext103_adaptive": {
        "task.tokens_per_sample": 3072,  # [S, F], as all of the following
        "dataset.max_tokens": 3072,
        "optimizer._name": "nag",
        "lr_scheduler._name": "cosine",
        "lr_scheduler.warmup_updates": 16000,
        "lr_scheduler.min_lr": 1e-4,
        "lr_scheduler.t_mult": 2,
        "lr_scheduler.lr_period_updates": 270000,
        "lr_scheduler.lr_shrink": 0.75,
        "optimization.lr": [1.0],
        "optimization.clip_norm": 0.1,
        "optimization.stop_min_lr": 1e-9,
        "optimization.update_freq": [3],
        "optimization.max_update": 286000,  # and [P]
    },
}
LM_CRITERIONS = {
    "wikitext103_gpt": ("cross_entropy", 1.0),
    "wikitext103_adaptive": ("adaptive_loss", 0.5),
}  # alpha: [P]
LM_ARCHITECTURES = {  # [P, S]
    "wikitext103_gpt": ["transformer_lm_gpt", "--share-decoder-input-output-embed", "--dropout", "0.1"],
    "wikitext103_adaptive": ["transformer_lm_wiki103"],
}
LM_CONFIGS = [path for path in CONFIGS if path.parent.name.startswith("wikitext")]
LM_PUBLISHED = [path for path in LM_CONFIGS if path.parent.name in LM_SCORES]


def test_every_recipe_for_a_language_model_has_a_baseline_and_rdrop():
    recipes = ("wikitext103_adaptive", "wikitext103_gpt", "wikitext2_adaptive", "wikitext2_gpt")
    assert names(LM_CONFIGS) == [f"{folder}/{name}" for folder in recipes for name in ("baseline", "rdrop")]


@pytest.mark.parametrize("path", LM_PUBLISHED, ids=names(LM_PUBLISHED))
def test_the_settings_of_a_language_model_are_the_published_ones(path):
    folder = path.parent.name
    cfg = resolved(path)
    expected = OF_LM | LM_RECIPES[folder]
    expected["criterion._name"], alpha = LM_CRITERIONS[folder]
    if path.stem == "rdrop":
        expected["criterion._name"] = f"rdrop_{expected['criterion._name']}"
        expected["criterion.rdrop_alpha"] = alpha
        expected |= {f"criterion.rdrop_{key}": value for key, value in RDROP.items()}
        if folder == "wikitext103_adaptive":
            expected["criterion.rdrop_adaptive_divergence"] = "published"
    actual = {key: OmegaConf.select(cfg, key, throw_on_missing=True) for key in expected}
    actual |= {key: list(actual[key]) for key in ("optimization.lr", "optimization.update_freq")}
    if "optimizer.adam_betas" in actual:
        actual["optimizer.adam_betas"] = literal_eval(actual["optimizer.adam_betas"])
    assert actual == expected
    assert OmegaConf.select(cfg, "task.sample_break_mode", default="none") == "none"  # [S]


@pytest.mark.parametrize("path", LM_PUBLISHED, ids=names(LM_PUBLISHED))
def test_the_language_model_is_that_of_the_architecture(path):
    """fairseq-hydra-train takes its model's defaults for the values of an architecture: the config must say all."""
    cfg = resolved(path)
    arguments = ["data", "--task", "language_modeling", "--tokens-per-sample", str(cfg.task.tokens_per_sample)]
    arguments += ["--arch", *LM_ARCHITECTURES[path.parent.name]]
    if path.parent.name == "wikitext103_adaptive":
        arguments += ["--criterion", "adaptive_loss"]
    args = options.parse_args_and_arch(options.get_training_parser(), arguments)
    task = LanguageModelingTask(LanguageModelingConfig(), dictionary(map(str, range(70_000))))
    with torch.device("meta"):
        here, there = (build_model(each.model, task) for each in (cfg, convert_namespace_to_omegaconf(args)))
    assert repr(here) == repr(there)

    def facts(model):
        dropouts = {name: module.p for name, module in model.named_modules() if hasattr(module, "p")}
        first = next(iter(model.decoder.layers))
        return dropouts, first.normalize_before, model.max_positions(), first.activation_fn

    assert facts(here) == facts(there)
    assert here.max_positions() == cfg.task.tokens_per_sample
    tied = {name for name, parameter in here.named_parameters(remove_duplicate=False)}
    assert len(tied) > len(dict(here.named_parameters()))  # words and output share their weights


@pytest.mark.parametrize("path", LM_CONFIGS, ids=names(LM_CONFIGS))
def test_the_comment_names_the_commands_of_a_language_model(path):
    comment = re.match(r"(#.*\n)+", path.read_text())[0]
    folder = path.parent.name
    assert re.findall("^#   (.*)", comment, re.MULTILINE) == [
        f"scripts/prepare_{folder.split('_')[0]}.sh" + (" --train-lines 4600" if "wikitext2" in folder else ""),
        f"scripts/train.sh configs/{folder}/{path.stem}.yaml --seed 1",
        f"scripts/evaluate_lm.sh runs/{folder}/{path.stem}/seed1",
    ]
    if folder in LM_SCORES:
        assert f"the paper's (not run here): {LM_SCORES[folder][path.stem == 'rdrop']}." in comment
