"""configs/cnn_dm_bart and configs/csl: the settings of the paper and of the published code, which stand here.

Sources: [P] the paper, table 4 and section 3.3; [S] the official script examples/summeration_rdrop/script/run_train.sh
and run_inference.py; [C] csl.py of github bojone/r-drop. What they do not set is fairseq's default.
"""

import json
import re
from ast import literal_eval

import pytest
import torch
from fairseq.models import build_model
from fairseq.models.bart import model as bart
from omegaconf import OmegaConf
from support.configs import CONFIGS, names, resolved
from support.helpers import build_task

CNN_DM = {
    "common.fp16": True,  # [S]
    "dataset.max_tokens": 1024,  # [S]
    "dataset.required_batch_size_multiple": 1,  # [S]
    "dataset.skip_invalid_size_inputs_valid_test": True,  # [S]
    "distributed_training.distributed_world_size": 4,  # [S]
    "distributed_training.find_unused_parameters": True,  # [S]
    "optimization.update_freq": [16],  # [S]
    "optimization.lr": [3e-5],  # [S]
    "optimization.max_update": 20000,  # [S]: the learning rate is then 0
    "optimization.clip_norm": 0.1,  # [S]
    "optimizer._name": "adam",  # [S]
    "optimizer.adam_betas": (0.9, 0.999),  # [S]
    "optimizer.adam_eps": 1e-8,  # [S]
    "optimizer.weight_decay": 0.01,  # [S]
    "lr_scheduler._name": "polynomial_decay",  # [S]
    "lr_scheduler.warmup_updates": 500,  # [S]
    "lr_scheduler.total_num_update": 20000,  # [S]
    "criterion.label_smoothing": 0.1,  # [S]
    "criterion.sentence_avg": False,
    "checkpoint.best_checkpoint_metric": "loss",
    "task._name": "rdrop_translation",
    "task.source_lang": "source",
    "task.target_lang": "target",
    "task.truncate_source": True,  # [S]
    "generation.beam": 4,  # [S]
    "generation.lenpen": 2.0,  # [S]
    "generation.max_len_a": 0,
    "generation.max_len_b": 140,  # [S]
    "generation.min_len": 55,  # [S]
    "generation.no_repeat_ngram_size": 3,  # [S]
}
CSL = {
    "criterion.label_smoothing": 0.0,  # [C]
    "model.dropout": 0.3,  # [C]
    "task.max_source_positions": 225,  # [C]: 256 - 32 of the title, and an end
    "generation.beam": 1,  # [C]
    "generation.max_len_b": 32,  # [C]
    "generation.min_len": 1,
    "generation.no_repeat_ngram_size": 0,
}
SCORES = {  # [P]; of CSL [C]
    "cnn_dm_bart": ("44.16 ROUGE-1, 21.28 ROUGE-2, 40.90 ROUGE-L", "44.51 ROUGE-1, 21.58 ROUGE-2, 41.24 ROUGE-L"),
    "csl": (
        "63.81 ROUGE-L, 65.45 ROUGE-1, 54.91 ROUGE-2, 45.52 BLEU",
        "65.51 ROUGE-L, 67.41 ROUGE-1, 57.12 ROUGE-2, 47.82 BLEU",
    ),
}
OURS = [path for path in CONFIGS if path.parent.name in SCORES]


@pytest.mark.parametrize("path", OURS, ids=names(OURS))
def test_the_settings_are_the_published_ones(path):
    cfg = resolved(path)
    is_csl, is_rdrop = path.parent.name == "csl", path.stem == "rdrop"
    expected = CSL if is_csl else CNN_DM
    expected |= {"criterion._name": "label_smoothed_cross_entropy"}
    if is_rdrop:
        expected = expected | {
            "criterion._name": "rdrop_label_smoothed_cross_entropy",
            "criterion.rdrop_alpha": 4.0 if is_csl else 0.7,  # [C], [P]
            "criterion.rdrop_passes": 2,
            "criterion.rdrop_divergence": "symmetric",
        }
    actual = {key: OmegaConf.select(cfg, key, throw_on_missing=True) for key in expected}
    for key, value in actual.items():
        if OmegaConf.is_list(value):
            actual[key] = list(value)
        if key == "optimizer.adam_betas":
            actual[key] = literal_eval(value)
    assert actual == expected
    if is_csl:
        assert json.loads(cfg.task.eval_bleu_args) == {"beam": 1, "max_len_b": 32}
    comment = " ".join(re.findall("^# (.*)", path.read_text(), re.MULTILINE))
    assert SCORES[path.parent.name][is_rdrop] in comment


def test_the_model_of_cnn_dm_is_bart_large(monkeypatch):
    monkeypatch.setattr(bart, "init_bert_params", lambda module: None)  # it cannot draw what is not there
    cfg = resolved(OURS[1])
    with torch.device("meta"):
        model = build_model(OmegaConf.create(OmegaConf.to_container(cfg.model)), build_task())
    assert cfg.model._name == "bart_large"
    for side in (model.encoder, model.decoder):
        assert len(side.layers) == 12 and side.embed_tokens.embedding_dim == 1024
        assert side.dropout_module.p == 0.1  # [S]
        assert {layer.self_attn.dropout_module.p for layer in side.layers} == {0.1}  # [S]
        assert side.layernorm_embedding is not None  # [S]
    assert model.decoder.output_projection.weight is model.encoder.embed_tokens.weight  # [S]
