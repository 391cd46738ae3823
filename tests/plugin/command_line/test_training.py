"""fairseq-train with R-Drop on a made-up corpus: training, validation and R-Drop's own flags."""

import pytest
from support.command_line import (
    BASELINE,
    DROPOUT,
    FROZEN,
    LSTM,
    NO_DROPOUT,
    RDROP,
    ROUNDING,
    TRANSFORMER,
    assert_loss_is_sum,
)

# Training and validation


@pytest.mark.parametrize("task", ["rdrop_translation", "translation"])
def test_trains_with_the_rdrop_task_and_with_the_stock_task(trained, task):
    result = trained(*RDROP, "--task", task, *DROPOUT, "--label-smoothing", "0", "--max-update", "5")
    assert len(result.updates) == 5
    assert_loss_is_sum(result)
    assert result.valid["valid_ppl"] > 1
    assert "rdrop_alpha" not in " ".join(result.valid)


def test_validation_equals_the_baselines(trained):
    rdrop, baseline = (trained(*flags, *DROPOUT, *FROZEN) for flags in (RDROP, BASELINE))
    assert min(rdrop.column("kl_loss")) > 0
    assert rdrop.valid == baseline.valid


def test_alpha_0_is_the_baseline(trained):
    rdrop, baseline = trained(*RDROP, *DROPOUT, "--rdrop-alpha", "0"), trained(*BASELINE, *DROPOUT)
    for update, expected in zip(rdrop.updates, baseline.updates, strict=True):
        assert update == {**expected, "kl_loss": 0, "rdrop_alpha": 0}
    assert rdrop.valid == baseline.valid


# R-Drop's own flags


@pytest.mark.parametrize("passes", [2, 3])
def test_passes(trained, passes):
    result = trained(*RDROP, *DROPOUT, "--rdrop-passes", str(passes), "--label-smoothing", "0", "--rdrop-alpha", "1.5")
    assert_loss_is_sum(result, passes, 1.5)


def test_every_2_leaves_the_other_updates_to_the_parent(trained):
    rdrop, baseline = trained(*RDROP, *DROPOUT, *FROZEN, "--rdrop-every", "2"), trained(*BASELINE, *DROPOUT, *FROZEN)
    assert rdrop.column("rdrop_alpha") == [0, 5, 0, 5]
    for i, (update, expected) in enumerate(zip(rdrop.updates, baseline.updates, strict=True)):
        if i % 2:
            assert update["kl_loss"] > 0
            assert update["loss"] > 2 * expected["loss"] - 0.5
        else:
            assert update == {**expected, "kl_loss": 0, "rdrop_alpha": 0}


def test_warmup_raises_alpha(trained):
    result = trained(*RDROP, *DROPOUT, "--rdrop-alpha", "2", "--rdrop-warmup-updates", "4", "--max-update", "6")
    assert result.column("rdrop_alpha") == [0, 0.5, 1, 1.5, 2, 2]


def test_divergences(trained):
    flags = (*RDROP, *DROPOUT, *FROZEN, "--label-smoothing", "0", "--rdrop-divergence")
    from rdrop_fairseq.divergence import DIVERGENCES

    kinds = {kind: trained(*flags, kind) for kind in DIVERGENCES}
    for result in kinds.values():
        assert_loss_is_sum(result)
    columns = (result.column("kl_loss") for result in kinds.values())
    for symmetric, forward, reverse, js, bhattacharyya in zip(*columns, strict=True):
        assert symmetric == pytest.approx((forward + reverse) / 2, abs=1e-4)
        assert forward != reverse
        assert 0 < js < symmetric / 2 and 0 < bhattacharyya < symmetric / 2


def test_one_dropout_rate_for_each_pass(trained):
    flags = (*RDROP, *FROZEN, "--label-smoothing", "0")
    off = trained(*flags, *DROPOUT, "--rdrop-dropouts", "0,0")
    assert off.column("kl_loss") == [0] * 4
    assert off.column("loss") == pytest.approx(trained(*flags, *NO_DROPOUT).column("loss"), abs=0.001)
    low, high = (trained(*flags, *DROPOUT, "--rdrop-dropouts", rates) for rates in ("0.1,0.3", "0.1,0.6"))
    assert_loss_is_sum(low)
    assert all(a < b for a, b in zip(low.column("kl_loss"), high.column("kl_loss"), strict=True))
    assert_loss_is_sum(trained(*flags, *DROPOUT, "--rdrop-passes", "3", "--rdrop-dropouts", "0.1,0.2,0.3"), passes=3)


def test_the_models_own_dropout_comes_back(trained):
    rdrop = trained(*RDROP, *DROPOUT, *FROZEN, "--rdrop-every", "2", "--rdrop-dropouts", "0,0")
    baseline = trained(*BASELINE, *DROPOUT, *FROZEN)
    assert rdrop.column("loss")[2] == baseline.column("loss")[2]


def test_simcut(trained):
    """Pass 1 as it is, pass 2 cut: nll_loss is that of pass 1, and without dropout the baseline's."""
    flags = ("--rdrop-pass-weights", "1,0", "--rdrop-divergence", "forward", "--rdrop-cutoff", "0.2")
    simcut = trained(*RDROP, *NO_DROPOUT, *FROZEN, "--label-smoothing", "0", *flags, "--rdrop-start-update", "1")
    baseline = trained(*BASELINE, *NO_DROPOUT, *FROZEN, "--label-smoothing", "0")
    assert simcut.column("rdrop_alpha") == [0, 5, 5, 5]
    assert simcut.column("nll_loss") == baseline.column("nll_loss")
    assert min(simcut.column("kl_loss")[1:]) > 0.001
    sums = [update["nll_loss"] + update["rdrop_alpha"] * update["kl_loss"] for update in simcut.updates]
    assert simcut.column("loss") == pytest.approx(sums, abs=ROUNDING)
    assert "R-Drop has no effect" not in simcut.stdout + simcut.stderr


# The parent's and fairseq's other options


@pytest.mark.parametrize(
    "option",
    [
        ["--report-accuracy"],
        ["--ignore-prefix-size", "1"],
        ["--sentence-avg"],
        ["--update-freq", "2"],
        ["--report-accuracy", "--ignore-prefix-size", "1", "--rdrop-passes", "3"],
        ["--eval-bleu", "--eval-bleu-args", '{"beam": 1, "max_len_b": 10}'],
    ],
    ids=" ".join,
)
def test_parent_options(trained, option):
    parents = [word for word in option if word not in ("--rdrop-passes", "3")]
    passes = 3 if parents != option else 2
    baseline = trained(*BASELINE, *NO_DROPOUT, *FROZEN, *parents)
    rdrop = trained(*RDROP, *NO_DROPOUT, *FROZEN, *option)
    for update, expected in zip(rdrop.updates, baseline.updates, strict=True):
        # Without dropout the passes agree: R-Drop is the parent's loss, once a pass.
        sums = {key: passes * expected[key] for key in ("loss", "gnorm")}
        assert update == pytest.approx({**expected, **sums, "kl_loss": 0, "rdrop_alpha": 5}, abs=ROUNDING)
    with_dropout = trained(*RDROP, *DROPOUT, *FROZEN, *option)
    assert min(with_dropout.column("kl_loss")) > 0
    assert rdrop.valid == with_dropout.valid == baseline.valid
    assert ("valid_bleu" in rdrop.valid) == ("--eval-bleu" in option)
    assert ("valid_accuracy" in rdrop.valid) == ("--report-accuracy" in option)


LAYERDROP = ("--encoder-layers", "2", "--encoder-layerdrop", "0.5", "--decoder-layerdrop", "0.5")


@pytest.mark.parametrize(
    "model",
    [(*LSTM, *DROPOUT), (*TRANSFORMER, *LAYERDROP, *NO_DROPOUT)],  # LayerDrop alone must tell the passes apart
    ids=["lstm", "layerdrop"],
)
def test_models_that_need_separate_forwards(trained, model):
    result = trained(*RDROP, "--label-smoothing", "0", *model, "--max-update", "6", "--lr", "0.05")
    sums = [2 * update["nll_loss"] + 5 * update["kl_loss"] for update in result.updates]
    assert result.column("loss") == pytest.approx(sums, abs=ROUNDING)
    assert max(result.column("kl_loss")) > 0.01


@pytest.mark.parametrize(
    "precision",
    [["--memory-efficient-fp16", "--fp16-init-scale", "4"], ["--amp"]],
    ids=lambda flags: flags[0],
)
def test_reduced_precision(trained, precision):
    flags = (*RDROP, "--label-smoothing", "0", "--max-update", "5")
    assert_loss_is_sum(trained(*flags, *DROPOUT, *precision))
    half, full = trained(*flags, *NO_DROPOUT, *precision), trained(*flags, *NO_DROPOUT)
    assert half.column("loss") == pytest.approx(full.column("loss"), rel=0.01)
    assert half.valid["valid_loss"] == pytest.approx(full.valid["valid_loss"], rel=0.01)
