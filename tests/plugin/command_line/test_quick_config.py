"""The quick way of the tests from a command line to fairseq's configuration gives what hydra gives."""

from pathlib import Path

import pytest
from fairseq import options
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.dataclass import utils as config
from fairseq.models.transformer import TransformerConfig
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from omegaconf import OmegaConf
from support import quick_config, spared
from support.command_line import ADAPTIVE_LM, BASELINE, LM, LSTM, RDROP, train_argv

import rdrop_fairseq  # noqa: F401  (registers everything)

LM_TASK = ("--task", "rdrop_language_modeling", "--criterion")


@pytest.mark.parametrize(
    "flags",
    [
        (*BASELINE, "--update-freq", "2", "--sentence-avg", "--optimizer", "sgd", "--lr", "0.2"),
        (
            *RDROP,
            *LSTM,
            "--rdrop-dropouts",
            "0.1,0.3",
            "--eval-bleu",
            "--eval-bleu-args",
            '{"beam": 1, "max_len_b": 9}',
        ),
        (*ADAPTIVE_LM, *LM_TASK, "rdrop_adaptive_loss", "--memory-efficient-fp16"),
        (*LM, *LM_TASK, "rdrop_cross_entropy", "--sample-break-mode", "complete"),
    ],
    ids=["baseline", "rdrop", "adaptive", "language model"],
)
def test_it_is_hydras(flags, monkeypatch):
    args = options.parse_args_and_arch(options.get_training_parser(), train_argv(Path("DATA"), *flags))
    for name, function in quick_config.HYDRAS.items():
        monkeypatch.setattr(config, name, function)
    monkeypatch.setattr(OmegaConf, "structured", staticmethod(spared.make))
    by_hydra = OmegaConf.to_container(config.convert_namespace_to_omegaconf(args))
    quick_config.install()
    assert OmegaConf.to_container(config.convert_namespace_to_omegaconf(args)) == by_hydra


@pytest.mark.parametrize(
    "kind",
    [TransformerConfig, CRITERION_DATACLASS_REGISTRY["rdrop_adaptive_loss"], TASK_DATACLASS_REGISTRY["translation"]],
)
def test_a_config_that_is_made_from_an_earlier_one_is_omegaconfs(kind):
    changed = kind()
    changed._name = "changed"
    for _ in range(2):
        for given in (kind, kind(), changed):
            made, expected = spared.structured(given), spared.make(given)
            assert made == expected and made._metadata == expected._metadata
            assert OmegaConf.to_yaml(made) == OmegaConf.to_yaml(expected)
        made._name = "of this one alone"
