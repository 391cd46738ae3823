"""The quick way of the tests from a command line to fairseq's configuration gives what hydra gives."""

from pathlib import Path

import pytest
from fairseq import options
from fairseq.dataclass import utils as config
from omegaconf import OmegaConf
from support import quick_config
from support.command_line import ADAPTIVE_LM, BASELINE, LM, LSTM, RDROP, train_argv

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
    by_hydra = OmegaConf.to_container(config.convert_namespace_to_omegaconf(args))
    quick_config.install()
    assert OmegaConf.to_container(config.convert_namespace_to_omegaconf(args)) == by_hydra
