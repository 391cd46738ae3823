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

import pytest
import torch
from fairseq.models import ARCH_CONFIG_REGISTRY, build_model
from omegaconf import OmegaConf
from recipes.studies.plan import overrides_of
from recipes.studies.study import find_study
from recipes.training.batch import find_batch
from recipes.training.settings import flat, read
from support.configs import CONFIGS, load, names, resolved
from support.helpers import build_task
from support.places import ROOT

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


PUBLISHED = [path for path in CONFIGS if path.parent.name in RECIPES and path.stem in ("baseline", "rdrop")]
# What the other methods on IWSLT14 De-En change in the settings of R-Drop: of their authors' code.
SIMCUT = {
    "criterion.rdrop_alpha": 3.0,
    "criterion.rdrop_divergence": "forward",
    "criterion.rdrop_pass_weights": "1,0",
    "criterion.rdrop_cutoff": 0.05,
    "checkpoint.best_checkpoint_metric": "loss",
    "checkpoint.maximize_best_checkpoint_metric": False,
}
CUT_BY_UNK = {"criterion.rdrop_cutoff": 0.05, "criterion.rdrop_cutoff_replacement": "unk"}
METHODS = {
    "simcut": SIMCUT,
    "bisimcut": SIMCUT,
    "bisimcut_pretrain": SIMCUT | {"task.data": "data/iwslt14_deen/both", "task.eval_bleu": False},
    "rdrop_cutoff": CUT_BY_UNK,
    "cutoff": CUT_BY_UNK
    | {
        "criterion.rdrop_divergence": "bhattacharyya",
        "dataset.max_tokens": 2048,
        "dataset.max_tokens_valid": 2048,
        "dataset.validate_interval": 1,
        "dataset.validate_interval_updates": 0,
        "optimization.update_freq": [4],
        "optimization.max_epoch": 100,
        "optimization.max_update": 0,
        "optimization.lr": [7e-4],
        "optimizer.adam_eps": 1e-9,
        "optimizer.lr": [7e-4],
        "lr_scheduler.lr": [7e-4],
        "lr_scheduler.warmup_updates": 6000,
        "model.attention_dropout": 0.1,
        "model.activation_dropout": 0.1,
        "checkpoint.save_interval_updates": 0,
        "checkpoint.keep_interval_updates": -1,
        "checkpoint.no_epoch_checkpoints": False,
        "checkpoint.keep_last_epochs": 5,
        "generation.lenpen": 0.5,
    },
}
SETTINGS_OF_BLEU = ("task.eval_bleu_args", "task.eval_bleu_detok", "task.eval_bleu_remove_bpe")


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


@pytest.mark.parametrize("name", METHODS)
def test_the_other_methods_change_what_their_authors_say(name):
    paths = {path.stem: path for path in CONFIGS if path.parent.name == "iwslt14_deen"}
    ours, rdrop = (flat(resolved(paths[stem])) for stem in (name, "rdrop"))
    changed = {key: value for key, value in ours.items() if value != rdrop.get(key) and key not in SETTINGS_OF_BLEU}
    assert changed == METHODS[name]


@pytest.mark.parametrize("folder", sorted({path.parent.name for path in CONFIGS if path.stem == "baseline"}))
def test_configs_of_a_folder_differ_in_the_criterion_alone(folder):
    # Settings of their authors, data in both directions, or a training in less time.
    own = METHODS.keys() - {"rdrop_cutoff"} if folder == "iwslt14_deen" else {"bisimcut_pretrain", "rdrop_fast"}
    configs = [load(path) for path in CONFIGS if path.parent.name == folder and path.stem not in own]
    criterions = [config.pop("criterion") for config in configs]
    assert all(config == configs[0] for config in configs)
    assert all(criterion != criterions[0] for criterion in criterions[1:])


@pytest.mark.parametrize("folder", ["multi30k_deen", "tatoeba_deen"])
def test_both_steps_of_bisimcut_are_simcut(folder):
    first, second, simcut = (
        flat(load(CONFIGS[0].parents[1] / folder / f"{name}.yaml"))
        for name in ("bisimcut_pretrain", "bisimcut", "simcut")
    )
    assert second == simcut
    assert {key: value for key, value in first.items() if simcut.get(key) != value} == {
        "task.data": f"data/{folder}/both",
        "checkpoint.best_checkpoint_metric": "loss",  # BLEU is of one direction
    }
    others = simcut.keys() - first.keys() - {"checkpoint.maximize_best_checkpoint_metric"}
    assert all(key.startswith("task.eval_bleu") for key in others)


def test_rdrop_fast_is_what_the_study_of_less_time_trained():
    path = ROOT / "configs/multi30k_deen/rdrop_fast.yaml"
    rdrop = path.with_name("rdrop.yaml")
    of_the_study = overrides_of(find_study("half_time").entries["late_low_dropout"], rdrop, [])
    default = ["optimization.update_freq=[1]"]  # which an entry with another batch sets
    assert flat(read(path, default)) == flat(read(rdrop, of_the_study))


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
