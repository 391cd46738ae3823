"""configs/: each resolves through fairseq to the settings of the paper and the official scripts, which stand here.

Sources: [P] the paper, table 1, 2, 5 and appendix A.1, A.3; [S] the official run_train.sh and run_inference.sh for
IWSLT14 De-En, and for WikiText-103 the official train_lm_*wiki103*.sh; [W] the authors' settings for WMT14 En-De,
github dropreg/R-Drop issue 19; [F] fairseq's recipe of the adaptive model. What none of them sets is fairseq's default.
Where they differ, the configs follow [S] and [W]: what was run. The paper alone says Adam's epsilon 1e-9 (the scripts
leave fairseq's 1e-8), and lr 5e-4 and 4,000 warm-up updates "by default" also for WMT. For the adaptive model the
configs follow [P]: alpha 0.5 and 286,000 updates, where [S] says 1.0 and, with R-Drop, 320,000. Its heads are the
architecture's 8, where [P] says 16; that it trains in fp16 [S] says with R-Drop alone.
"""

import json
import re
from argparse import Namespace
from ast import literal_eval
from pathlib import Path
from unittest import mock

import pytest
import torch
import yaml
from fairseq import options
from fairseq.dataclass.initialize import hydra_init
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_CONFIG_REGISTRY, build_model
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask
from fairseq_cli import hydra_train
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from recipes.training.job import find_batch
from support.helpers import build_task, dictionary
from support.places import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*/*.yaml"))
RECIPES = {  # [P]: prepare script, pair, data, BLEU of the baseline and of R-Drop
    "iwslt14_deen": ("prepare_iwslt14.sh", "de-en", "iwslt14_deen", "34.64", "37.25"),
    "iwslt14_ende": ("prepare_iwslt14.sh", "en-de", "iwslt14_deen", "28.57", "30.72"),
    "iwslt14_esen": ("prepare_iwslt14.sh", "es-en", "iwslt14_esen", "40.6", "43.2"),
    "iwslt14_enes": ("prepare_iwslt14.sh", "en-es", "iwslt14_esen", "39.0", "41.8"),
    "iwslt17_fren": ("prepare_iwslt17.sh", "fr-en", "iwslt17_fren", "36.1", "38.9"),
    "iwslt17_enfr": ("prepare_iwslt17.sh", "en-fr", "iwslt17_fren", "35.9", "38.0"),
    "iwslt17_zhen": ("prepare_iwslt17.sh", "zh-en", "iwslt17_zhen", "18.4", "19.5"),
    "iwslt17_enzh": ("prepare_iwslt17.sh", "en-zh", "iwslt17_zhen", "26.3", "28.1"),
    "wmt14_ende": ("prepare_wmt14.sh", "en-de", "wmt14_ende", "29.12", "30.91"),
    "wmt14_enfr": ("prepare_wmt14.sh", "en-fr", "wmt14_enfr", "42.69", "43.95"),
}
BOTH = {
    "common.fp16": True,  # [S, W]
    "common.bf16": False,
    "dataset.max_tokens": 4096,  # [S, W]
    "dataset.batch_size": None,
    "optimizer._name": "adam",  # [P, S, W]
    "optimizer.adam_betas": (0.9, 0.98),  # [P, S, W]
    "optimizer.adam_eps": 1e-8,
    "lr_scheduler._name": "inverse_sqrt",  # [P, S, W]
    "lr_scheduler.warmup_init_lr": 1e-7,  # [S, W]
    "criterion.label_smoothing": 0.1,  # [P, S, W]
    "criterion.sentence_avg": False,
    "optimization.max_update": 300000,  # [S, W]
    "optimization.max_epoch": 0,
    "optimization.clip_norm": 0.0,
    "checkpoint.best_checkpoint_metric": "bleu",  # [S]
    "checkpoint.maximize_best_checkpoint_metric": True,  # [S]
    "checkpoint.patience": -1,
    "task._name": "rdrop_translation",
    "task.eval_bleu": True,  # [S]
    "task.eval_bleu_remove_bpe": "subword_nmt",  # [S]
    "common_eval.post_process": "subword_nmt",  # [S]
}
IWSLT = {
    "distributed_training.distributed_world_size": 1,  # [P]
    "optimization.update_freq": [1],
    "optimization.lr": [5e-4],  # [P, S]
    "lr_scheduler.warmup_updates": 4000,  # [P, S]
    "optimizer.weight_decay": 1e-4,  # [P, S]
    "model._name": "transformer_iwslt_de_en",  # [P, S]
    "task.eval_bleu_args": {"beam": 5, "max_len_a": 1.2, "max_len_b": 10},  # [S]
    "generation.beam": 5,  # [P, S]
    "generation.lenpen": 1.0,  # [P]
}
WMT = {
    "distributed_training.distributed_world_size": 8,  # [P]
    "optimization.update_freq": [16],  # [W]
    "optimization.lr": [1e-3],  # [W]
    "lr_scheduler.warmup_updates": 6000,  # [W]
    "optimizer.weight_decay": 0.0,  # [W]
    "model._name": "transformer_vaswani_wmt_en_de_big",  # [P, W]
}
OF_RECIPE = {name: IWSLT if name.startswith("iwslt") else WMT for name in RECIPES}
OF_RECIPE["wmt14_ende"] = WMT | {
    "task.eval_bleu_args": {"beam": 4, "lenpen": 0.6, "max_len_a": 1.2, "max_len_b": 10},
    "generation.beam": 4,  # [P, W]
    "generation.lenpen": 0.6,  # [P, W]
}
OF_RECIPE["wmt14_enfr"] = WMT | {
    "task.eval_bleu_args": {"beam": 5, "max_len_a": 1.2, "max_len_b": 10},
    "generation.beam": 5,  # [P]
    "generation.lenpen": 1.0,  # [P]
}
# layers, width, feed-forward width, heads, dropout, attention dropout, relu dropout; the two sizes from [P]
MODELS = {
    "transformer_iwslt_de_en": (6, 512, 1024, 4, 0.3, 0.0, 0.0),  # dropouts: [P, S]
    "transformer_vaswani_wmt_en_de_big": (6, 1024, 4096, 16, 0.1, 0.1, 0.1),  # [P, W]
}


def resolved(path: Path):
    """The whole config that fairseq-hydra-train trains with."""
    hydra_init(path.stem)
    with initialize_config_dir(str(path.parent), version_base="1.1"):
        cfg = compose(path.stem)
    with mock.patch.object(hydra_train.distributed_utils, "call_main") as call_main:
        hydra_train._hydra_main(cfg)
    return call_main.call_args.args[0]


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def names(paths: list[Path]) -> list[str]:
    return [f"{path.parent.name}/{path.stem}" for path in paths]


def of(folder: str) -> list[Path]:
    return [path for path in CONFIGS if path.parent.name == folder]


PUBLISHED = [path for path in CONFIGS if path.parent.name in RECIPES]


def test_every_recipe_has_a_baseline_and_rdrop():
    assert names(PUBLISHED) == [f"{folder}/{name}" for folder in sorted(RECIPES) for name in ("baseline", "rdrop")]


@pytest.mark.parametrize("path", PUBLISHED, ids=names(PUBLISHED))
def test_the_settings_are_the_published_ones(path):
    folder = path.parent.name
    cfg = resolved(path)
    _, pair, data, _, _ = RECIPES[folder]
    source, target = pair.split("-")
    expected = BOTH | OF_RECIPE[folder]
    expected |= {"task.data": f"data/{data}/bin", "task.source_lang": source, "task.target_lang": target}
    # [S]; for Chinese BLEU of the words as they are segmented
    chinese = target == "zh"
    expected |= {"task.eval_bleu_detok": "space" if chinese else "moses", "task.eval_tokenized_bleu": chinese}
    if path.stem == "rdrop":
        expected |= {
            "criterion._name": "rdrop_label_smoothed_cross_entropy",
            "criterion.rdrop_alpha": 5.0,  # [P, S, W]
            "criterion.rdrop_divergence": "symmetric",  # [P]
            "criterion.rdrop_passes": 2,  # [P]
            "criterion.rdrop_every": 1,
            "criterion.rdrop_warmup_updates": 0,
            "criterion.rdrop_dropouts": None,
        }
    else:
        expected["criterion._name"] = "label_smoothed_cross_entropy"
    actual = {key: OmegaConf.select(cfg, key, throw_on_missing=True) for key in expected}
    actual |= {key: list(actual[key]) for key in ("optimization.lr", "optimization.update_freq")}
    actual["optimizer.adam_betas"] = literal_eval(actual["optimizer.adam_betas"])
    actual["task.eval_bleu_args"] = json.loads(actual["task.eval_bleu_args"])
    assert actual == expected


@pytest.mark.parametrize("path", PUBLISHED, ids=names(PUBLISHED))
def test_the_model_is_the_published_one(path):
    cfg = resolved(path)
    with torch.device("meta"):  # no memory, no time
        model = build_model(OmegaConf.create(OmegaConf.to_container(cfg.model)), build_task())
    layers, width, ffn, heads, dropout, attention, relu = MODELS[cfg.model._name]
    for side in (model.encoder, model.decoder):
        assert len(side.layers) == layers and side.embed_tokens.embedding_dim == width
        assert side.dropout_module.p == dropout
        for layer in side.layers:
            assert (layer.fc1.out_features, layer.self_attn.num_heads, layer.normalize_before) == (ffn, heads, False)
            dropouts = layer.dropout_module, layer.self_attn.dropout_module, layer.activation_dropout_module
            assert [module.p for module in dropouts] == [dropout, attention, relu]
    # [S, W]: one matrix for source, target and output; for En-Zh, whose dictionaries are two [P], target and output.
    shared = model.encoder.embed_tokens.weight is model.decoder.embed_tokens.weight
    assert shared == ("zh" not in (cfg.task.source_lang, cfg.task.target_lang))
    assert model.decoder.output_projection.weight is model.decoder.embed_tokens.weight


@pytest.mark.parametrize("folder", sorted({path.parent.name for path in CONFIGS}))
def test_configs_of_a_folder_differ_in_the_criterion_alone(folder):
    configs = [load(path) for path in of(folder)]
    criterions = [config.pop("criterion") for config in configs]
    assert all(config == configs[0] for config in configs)
    assert all(criterion != criterions[0] for criterion in criterions[1:])


@pytest.mark.parametrize("path", PUBLISHED, ids=names(PUBLISHED))
def test_no_setting_repeats_the_architecture(path):
    model = load(path)["model"]
    default = Namespace()
    ARCH_CONFIG_REGISTRY[model.pop("_name")](default)
    assert model and all(getattr(default, key) != value for key, value in model.items())


@pytest.mark.parametrize("path", PUBLISHED, ids=names(PUBLISHED))
def test_the_comment_names_the_commands_and_the_papers_score(path):
    comment = re.match(r"(#.*\n)+", path.read_text())[0]
    script, pair, _, *scores = RECIPES[path.parent.name]
    name = f"{path.parent.name}/{path.stem}"
    seed = 64 if name.startswith("iwslt") else 1  # [S]
    assert re.findall("^#   (.*)", comment, re.MULTILINE) == [
        f"scripts/{script} {pair}",
        f"scripts/train.sh configs/{name}.yaml --seed {seed}",
        f"scripts/evaluate_translation.sh runs/{name}/seed{seed}",
    ]
    assert f"the paper's (not run here): {scores[path.stem == 'rdrop']} " in comment


@pytest.mark.parametrize("path", CONFIGS, ids=names(CONFIGS))
def test_the_batch_of_a_config_can_be_shared(path):
    batch = find_batch(OmegaConf.load(path))
    assert batch.update_freq_on(batch.gpus) == batch.update_freq
    assert batch.smaller(batch.gpus) == batch.size // 2


# Language modeling

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
