"""The configs of GLUE: [P] the paper's table 8 and section 4.3, [S] the authors' scripts, [F] fairseq's recipe."""

import re
from argparse import Namespace
from ast import literal_eval

import pytest
from fairseq.models import ARCH_CONFIG_REGISTRY
from omegaconf import OmegaConf
from recipes.data.glue import TASKS
from recipes.data.sentences import Numbers
from support.configs import CONFIGS, names, resolved

import rdrop_fairseq.tasks  # noqa: F401  (with fairseq it registers what the configs name)

# [P]: updates, batch, alpha; [S]: warm-up; [P]: the score and those of the baseline and of R-Drop
PUBLISHED = {
    "cola": (5336, 16, 0.5, 320, "mcc", "68.0", "70.0"),
    "mrpc": (2296, 16, 1.0, 137, "accuracy", "90.9", "91.4"),
    "rte": (3120, 8, 1.0, 122, "accuracy", "86.6", "88.4"),
    "sst2": (20935, 32, 1.0, 1256, "accuracy", "96.4", "96.9"),
    "mnli": (123873, 32, 0.5, 7432, "accuracy", "90.2", "90.9"),
    "qnli": (33112, 32, 1.0, 1986, "accuracy", "94.7", "95.2"),
    "qqp": (113272, 32, 0.5, 28318, "accuracy", "92.2", "92.5"),
    "stsb": (3598, 16, 1.0, 214, "pearson", "92.4", "92.5"),
}
OF_GLUE = [path for path in CONFIGS if path.parent.name == "glue"]
SMALL = [path for path in CONFIGS if path.parent.name == "glue_small"]


def test_every_task_has_a_config():
    plain = [name.replace("-", "").lower() for name in TASKS]
    assert sorted(plain) == sorted(PUBLISHED) == [path.stem for path in OF_GLUE]


@pytest.mark.parametrize("path", OF_GLUE, ids=names(OF_GLUE))
def test_the_settings_are_the_published_ones(path):
    updates, batch, alpha, warmup, metric, base, rdrop = PUBLISHED[path.stem]
    cfg = resolved(path)
    expected = {
        "optimization.max_update": updates,
        "lr_scheduler.total_num_update": updates,
        "lr_scheduler.warmup_updates": warmup,
        "lr_scheduler._name": "polynomial_decay",  # [S, F]
        "dataset.batch_size": batch,
        "criterion.rdrop_alpha": alpha,
        "criterion.rdrop_divergence": "symmetric",
        "optimization.clip_norm": 0.0,  # [F]
        "optimizer.adam_eps": 1e-6,  # [S, F]
        "optimizer.weight_decay": 0.01,  # [S]
        "checkpoint.best_checkpoint_metric": metric,
        "checkpoint.maximize_best_checkpoint_metric": True,
        "task.init_token": 0,  # [F]
        "task.max_positions": 512,  # [F]
        "model._name": "roberta_large",  # [P]
    }
    assert {key: OmegaConf.select(cfg, key) for key in expected} == expected
    assert list(cfg.optimization.lr) == [1e-5] and literal_eval(str(cfg.optimizer.adam_betas)) == (0.9, 0.98)
    model = Namespace(**cfg.model)
    ARCH_CONFIG_REGISTRY["roberta_large"](model)
    assert model.dropout == model.attention_dropout == 0.1  # [P]
    text = path.read_text()
    assert "(not run here): " in text and f" {rdrop}, and {base} for" in text.replace("\n#", "")


@pytest.mark.parametrize("path", OF_GLUE + SMALL, ids=names(OF_GLUE + SMALL))
def test_the_task_is_that_of_the_data(path):
    cfg = resolved(path)
    task = {name.replace("-", "").lower(): task for name, task in TASKS.items()}[path.stem]
    numbers = isinstance(task.labels, Numbers)
    assert cfg.task.num_classes == (1 if numbers else len(task.labels.names))
    assert cfg.task.regression_target == cfg.criterion.regression_target == numbers
    assert cfg.task.separator_token == (2 if len(task.sentences) == 2 else None)  # [F]
    assert cfg.task.data == f"data/{path.parent.name}/{path.stem}/bin"
    metric = PUBLISHED[path.stem][4]
    reports = {"mcc": "report_mcc", "pearson": "report_pearson_and_spearman"}.get(metric)
    assert reports is None or cfg.criterion[reports]
    assert cfg.criterion.report_acc_and_f1 == (path.stem in ("mrpc", "qqp"))
    commands = re.findall("^#   (.*)", path.read_text(), re.MULTILINE)
    assert commands[1].startswith(f"scripts/train.sh configs/{path.parent.name}/{path.stem}.yaml --seed 1")
    assert commands[2] == f"scripts/evaluate_glue.sh runs/{path.parent.name}/{path.stem}/seed1"
