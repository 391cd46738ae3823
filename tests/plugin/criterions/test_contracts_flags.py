"""Contracts of every R-Drop criterion: flags, and the tasks that it is for."""

import math

import pytest
import torch
from fairseq.tasks import TASK_REGISTRY
from support.contracts import Optimizer
from support.helpers import (
    build_criterion,
    build_task,
    train,
)

from rdrop_fairseq.criterions import rdrop_config

# Flags


@pytest.mark.parametrize(
    "flag, value, allowed",
    [
        ("--rdrop-alpha", -1.0, ">= 0"),
        ("--rdrop-alpha", -0.001, ">= 0"),
        ("--rdrop-alpha", math.nan, "finite"),
        ("--rdrop-alpha", math.inf, "finite"),
        ("--rdrop-alpha", -math.inf, "finite"),
        ("--rdrop-passes", 1, ">= 2"),
        ("--rdrop-passes", 0, ">= 2"),
        ("--rdrop-passes", -2, ">= 2"),
        ("--rdrop-every", 0, ">= 1"),
        ("--rdrop-every", -1, ">= 1"),
        ("--rdrop-warmup-updates", -1, ">= 0"),
        ("--rdrop-divergence", "jsd", "symmetric, forward, reverse, js, bhattacharyya"),
        ("--rdrop-divergence", "Symmetric", "symmetric, forward, reverse, js, bhattacharyya"),
        ("--rdrop-divergence", "", "symmetric, forward, reverse, js, bhattacharyya"),
        ("--rdrop-loss", "fast", "auto, fused, plain"),
        ("--rdrop-loss", "", "auto, fused, plain"),
        ("--rdrop-dropouts", "0.1", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "0.1,0.2,0.3", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "0.1,1.0", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "-0.1,0.2", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "nan,0.2", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "inf,0.2", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "0.1,high", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "0.1;0.2", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "0.1,", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "", "2 rates in [0, 1)"),
    ],
)
def test_bad_flag_values_exit_with_one_line(setup, flag, value, allowed):
    with pytest.raises(SystemExit) as stopped:
        setup.criterion(**{flag[2:].replace("-", "_"): value})
    line = stopped.value.code
    assert isinstance(line, str)  # printed by Python, with exit status 1
    assert "\n" not in line and flag in line and str(value) in line and allowed in line


def test_dropouts_must_be_as_many_as_the_passes(setup):
    setup.criterion(rdrop_passes=3, rdrop_dropouts="0.1,0.2,0.3")
    with pytest.raises(SystemExit, match=r"--rdrop-dropouts 0\.1,0\.2: must be 3 rates"):
        setup.criterion(rdrop_passes=3, rdrop_dropouts="0.1,0.2")


@pytest.mark.parametrize("settings", [{"rdrop_alpha": 0.0}, {"rdrop_alpha": 0.7}, {"rdrop_dropouts": "0, 0.999"}])
def test_good_flag_values_at_the_edge(setup, settings):
    setup.criterion(**settings, rdrop_every=1, rdrop_warmup_updates=0, rdrop_passes=2)


@pytest.mark.parametrize("flag, value", [("--rdrop-every", 2), ("--rdrop-warmup-updates", 100)])
def test_a_stock_task_refuses_the_schedules(setup, flag, value):
    stock = build_task(setup.case.task.removeprefix("rdrop_"))
    with pytest.raises(SystemExit) as stopped:
        build_criterion(setup.case.name, stock, **{flag[2:].replace("-", "_"): value})
    line = stopped.value.code
    assert "\n" not in line and f"{flag} {value}" in line and setup.case.task in line


@pytest.mark.parametrize("name", rdrop_config.NOT_FOR_TASKS)
def test_tasks_that_it_is_not_for_are_refused(setup, name):
    task = object.__new__(TASK_REGISTRY[name])
    with pytest.raises(SystemExit) as stopped:
        build_criterion(setup.case.name, task)
    line = stopped.value.code
    assert "\n" not in line and f"--criterion {setup.case.name}" in line
    assert f"error: --task {name}: its targets are " in line


def test_a_task_derived_from_one_of_them_is_refused(setup):
    class Own(TASK_REGISTRY["masked_lm"]):
        pass

    with pytest.raises(SystemExit, match="--task masked_lm: its targets are masked words"):
        build_criterion(setup.case.name, object.__new__(Own))


def test_everything_else_works_with_a_stock_task(setup):
    stock = build_task(setup.case.task.removeprefix("rdrop_"))
    settings = {"rdrop_passes": 3, "rdrop_divergence": "js", "rdrop_dropouts": "0.1,0.2,0.3", **setup.case.settings}
    settings |= setup.case.own
    model, sample = setup.model(), setup.sample()
    actual = train(build_criterion(setup.case.name, stock, **settings), model, sample)
    expected = train(build_criterion(setup.case.name, setup.task, **settings), model, sample)
    assert torch.equal(actual.loss, expected.loss)
    model.zero_grad()
    stock.train_step(sample, model, build_criterion(setup.case.name, stock), Optimizer(), 5)
