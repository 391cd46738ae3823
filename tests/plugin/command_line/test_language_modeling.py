"""Language modeling through fairseq's command line: tiny plain and adaptive models on a made-up text."""

import functools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from support.command_line import (
    ADAPTIVE_LM,
    EVAL_LM,
    FROZEN,
    HYDRA_TRAIN,
    LM,
    TINY,
    TRAIN,
    USER_DIR,
    Result,
    make_text,
    parameters,
    run,
    train,
    train_argv,
    two_processes,
)

ROUNDING = 0.003  # of a loss: fairseq logs three decimals
DROPOUT = ("--dropout", "0.3")
NO_DROPOUT = ("--dropout", "0", "--attention-dropout", "0", "--adaptive-softmax-dropout", "0")
PLAIN_BASELINE = (*LM, "--task", "language_modeling", "--criterion", "cross_entropy")
ALPHA = ("--rdrop-alpha", "5")
PLAIN = (*LM, "--task", "rdrop_language_modeling", "--criterion", "rdrop_cross_entropy", *ALPHA)
ADAPTIVE_BASELINE = (*ADAPTIVE_LM, "--task", "language_modeling", "--criterion", "adaptive_loss")
ADAPTIVE = (*ADAPTIVE_LM, "--task", "rdrop_language_modeling", "--criterion", "rdrop_adaptive_loss", *ALPHA)
CUT = ("--rdrop-cutoff", "0.2")  # by 0, at the decoder's input
EXACT = ("--rdrop-adaptive-divergence", "exact")
MODELS = pytest.mark.parametrize(
    ("rdrop", "baseline"), [(PLAIN, PLAIN_BASELINE), (ADAPTIVE, ADAPTIVE_BASELINE)], ids=["plain", "adaptive"]
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def trained(data: Path) -> Callable[..., Result]:
    """fairseq-train with the given flags; what was trained before is not trained again."""
    return functools.cache(functools.partial(train, data))


def assert_loss_is_sum(result: Result, alpha: float = 5.0, passes: int = 2) -> None:
    assert result.column("rdrop_alpha") == [alpha] * len(result.updates)
    assert min(result.column("kl_loss")) > 0.001
    sums = [passes * update["nll_loss"] + alpha * update["kl_loss"] for update in result.updates]
    assert result.column("loss") == pytest.approx(sums, abs=ROUNDING)
    assert result.column("ppl") == pytest.approx([2 ** update["nll_loss"] for update in result.updates], rel=0.01)


# Training and validation


@MODELS
@pytest.mark.parametrize("task", ["rdrop_language_modeling", "language_modeling"])
def test_trains_with_the_rdrop_task_and_with_the_stock_task(trained, rdrop, baseline, task):
    result = trained(*rdrop, *DROPOUT, "--task", task)
    assert_loss_is_sum(result)
    assert "R-Drop loss: fused" in result.stdout
    assert result.valid["valid_ppl"] > 1 and "rdrop_alpha" not in " ".join(result.valid)


@MODELS
def test_validation_equals_the_baselines(trained, rdrop, baseline):
    both = [trained(*flags, *DROPOUT, *FROZEN) for flags in (rdrop, baseline)]
    assert both[0].valid == both[1].valid


@MODELS
def test_alpha_0_is_the_baseline(trained, rdrop, baseline):
    here, there = trained(*rdrop, *DROPOUT, "--rdrop-alpha", "0"), trained(*baseline, *DROPOUT)
    for update, expected in zip(here.updates, there.updates, strict=True):
        assert update == {**expected, "nll_loss": expected["loss"], "kl_loss": 0, "rdrop_alpha": 0}
    assert here.valid == there.valid


@MODELS
def test_schedules_and_passes(trained, rdrop, baseline):
    flags = ("--rdrop-every", "2", "--rdrop-warmup-updates", "4", "--max-update", "6")
    assert trained(*rdrop, *DROPOUT, *flags).column("rdrop_alpha") == [0, 1.25, 0, 3.75, 0, 5]
    assert_loss_is_sum(trained(*rdrop, *DROPOUT, "--rdrop-passes", "3", "--rdrop-alpha", "1.5"), 1.5, 3)


def test_the_exact_divergence(trained):
    exact = trained(*ADAPTIVE, *DROPOUT, *FROZEN, *EXACT)
    assert_loss_is_sum(exact)
    assert "R-Drop loss: plain (--rdrop-adaptive-divergence exact)" in exact.stdout
    published = trained(*ADAPTIVE, *DROPOUT, *FROZEN)
    assert exact.column("nll_loss") != [] and exact.column("kl_loss") != published.column("kl_loss")


@MODELS
@pytest.mark.parametrize("loss", ["fused", "plain"])
@pytest.mark.parametrize(
    "option",
    [
        ["--sample-break-mode", "complete", "--tokens-per-sample", "12"],
        ["--sample-break-mode", "complete_doc", "--tokens-per-sample", "12"],
        ["--add-bos-token"],
        ["--sentence-avg"],
        ["--tokens-per-sample", "5", "--update-freq", "2"],
        ["--shorten-method", "truncate", "--pad-to-fixed-length"],
    ],
    ids=" ".join,
)
def test_options_of_the_parent(trained, rdrop, baseline, loss, option):
    """Without dropout the passes agree: R-Drop is the parent's loss, once a pass."""
    here = trained(*rdrop, *NO_DROPOUT, *FROZEN, *option, "--rdrop-loss", loss)
    there = trained(*baseline, *NO_DROPOUT, *FROZEN, *option)
    for update, expected in zip(here.updates, there.updates, strict=True):
        assert update["loss"] == pytest.approx(2 * expected["loss"], abs=ROUNDING)
        assert update["gnorm"] == pytest.approx(2 * expected["gnorm"], abs=2 * ROUNDING)
        assert update["wpb"] == expected["wpb"] and update["kl_loss"] == 0
    assert here.valid == there.valid


@MODELS
def test_half_precision(trained, rdrop, baseline):
    flags = ("--memory-efficient-fp16", "--fp16-init-scale", "4")
    assert_loss_is_sum(trained(*rdrop, *DROPOUT, *flags))
    half, full = trained(*rdrop, *NO_DROPOUT, *flags), trained(*rdrop, *NO_DROPOUT)
    assert half.column("loss") == pytest.approx(full.column("loss"), rel=0.01)


# Several processes

# As in test_command_line: dropout that depends on the input alone; that of the adaptive softmax is drawn right after.
SEEDED_MODEL = """
import rdrop_fairseq
import torch
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer_lm import (
    TransformerLanguageModel, TransformerLanguageModelConfig, transformer_lm_gpt2_tiny
)

@register_model("seeded_lm", dataclass=TransformerLanguageModelConfig)
class SeededLanguageModel(TransformerLanguageModel):
    def forward(self, src_tokens, **kwargs):
        torch.manual_seed(int(src_tokens.sum()))
        return super().forward(src_tokens, **kwargs)

register_model_architecture("seeded_lm", "seeded_lm_tiny")(transformer_lm_gpt2_tiny)
"""
SGD = ("--optimizer", "sgd", "--lr", "0.2", "--max-update", "6", "--adaptive-softmax-dropout", "0.2")


@pytest.mark.parametrize(
    "flags",
    [PLAIN, ADAPTIVE, (*ADAPTIVE, *EXACT), (*PLAIN, *CUT), (*ADAPTIVE, *CUT)],
    ids=["plain", "adaptive", "exact", "plain, cut", "adaptive, cut"],
)
def test_two_processes_equal_update_freq_2(data, tmp_path, flags):
    user_dir = tmp_path / "seeded_lm"
    user_dir.mkdir()
    (user_dir / "__init__.py").write_text(SEEDED_MODEL)
    flags = (*flags, *SGD, *DROPOUT, "--arch", "seeded_lm_tiny", "--batch-size", "6")
    argv = functools.partial(train_argv, data, *flags, user_dir=user_dir)
    two = two_processes("tcp", [*argv(save_dir=tmp_path / "two"), "--ddp-backend", "legacy_ddp"])
    one = run(TRAIN, *argv("--update-freq", "2", save_dir=tmp_path / "one"))

    assert max(two.column("kl_loss")) > 0.01
    assert len(two.updates) == 6
    for update, expected in zip(two.updates, one.updates, strict=True):
        assert update == pytest.approx(expected, abs=0.0015)
    assert two.valid["valid_loss"] == pytest.approx(one.valid["valid_loss"], abs=0.0015)
    models = parameters(tmp_path / "two"), parameters(tmp_path / "one")
    for name, parameter in models[0].items():
        if name.endswith("_float_tensor"):  # a buffer of fairseq's that is never filled
            continue
        assert torch.allclose(parameter, models[1][name], rtol=1e-4, atol=1e-6), name


# Checkpoints


@MODELS
def test_resume_goes_on_as_if_never_stopped_and_evaluates(data, trained, tmp_path, rdrop, baseline):
    flags = (*rdrop, *DROPOUT, *CUT, "--rdrop-every", "2", "--rdrop-warmup-updates", "4")
    if rdrop is ADAPTIVE:  # with a cluster from 21, whose second word, which adaptive_loss leaves out, is in no text
        flags += ("--adaptive-input-cutoff", "21", "--adaptive-softmax-cutoff", "21")
    whole = trained(*flags, "--max-update", "6")
    first, second = (train(data, *flags, "--max-update", count, save_dir=tmp_path) for count in ("3", "6"))
    assert "Loaded checkpoint" in second.stdout
    assert first.updates + second.updates == whole.updates
    assert second.valid["valid_loss"] == whole.valid["valid_loss"]

    where = ("--path", tmp_path / "checkpoint_last.pt", "--user-dir", USER_DIR, "--cpu", "--num-workers", "0")
    scored = run(EVAL_LM, data, *where, "--gen-subset", "valid", "--tokens-per-sample", "8", "--batch-size", "4")
    loss, perplexity = re.search(r"Loss \(base 2\): ([\d.]+), Perplexity: ([\d.]+)", scored.stdout).groups()
    assert float(loss) == pytest.approx(second.valid["valid_loss"], abs=1e-3)
    assert float(perplexity) == pytest.approx(second.valid["valid_ppl"], abs=0.02)


def test_a_model_that_builds_adaptive_softmax_for_fairseqs_criterion_alone(data, tmp_path):
    """Its checkpoint is for fairseq's own task too, which fairseq-eval-lm takes."""
    lstm = ("--arch", "lstm_lm", "--decoder-embed-dim", "16", "--decoder-hidden-size", "16", "--tokens-per-sample", "8")
    flags = (*lstm, "--decoder-out-embed-dim", "16", "--adaptive-softmax-cutoff", "21", "--ddp-backend", "legacy_ddp")
    trained = train(data, *flags, *ADAPTIVE[len(ADAPTIVE_LM) :], *DROPOUT, save_dir=tmp_path)
    assert_loss_is_sum(trained)
    where = ("--path", tmp_path / "checkpoint_last.pt", "--user-dir", USER_DIR, "--cpu", "--num-workers", "0")
    scored = run(EVAL_LM, data, *where, "--gen-subset", "valid", "--tokens-per-sample", "8", "--batch-size", "4")
    loss = re.search(r"Loss \(base 2\): ([\d.]+)", scored.stdout)[1]
    assert float(loss) == pytest.approx(trained.valid["valid_loss"], abs=1e-3)


@MODELS
def test_hydra(data, tmp_path, rdrop, baseline):
    adaptive = rdrop is ADAPTIVE
    model = {"_name": "transformer_lm", "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_embed_dim": 16}
    model |= {f"decoder_{side}_dim": 16 for side in ("embed", "input", "output")}
    if adaptive:
        model |= {"adaptive_softmax_cutoff": "8,14", "adaptive_softmax_factor": 2, "adaptive_softmax_dropout": 0.2}
    config = {
        "common": {"user_dir": USER_DIR, "cpu": True, "seed": 7, "log_format": "json", "log_interval": 1},
        "checkpoint": {"no_save": True},
        "distributed_training": {"distributed_world_size": 1, "ddp_backend": "legacy_ddp"},
        "task": {"_name": "rdrop_language_modeling", "data": str(data), "tokens_per_sample": 8}
        | {"add_bos_token": False, "max_target_positions": None},
        "criterion": {"_name": "rdrop_adaptive_loss" if adaptive else "rdrop_cross_entropy", "rdrop_alpha": 2.0},
        "dataset": {"batch_size": 8, "required_batch_size_multiple": 1, "num_workers": 0},
        "optimizer": {"_name": "adam"},
        "lr_scheduler": {"_name": "fixed"},
        "optimization": {"lr": [0.01], "max_update": 3},
        "model": model,
        "hydra": {"run": {"dir": "."}, "output_subdir": None},
    }
    OmegaConf.save(OmegaConf.create(config), tmp_path / "tiny.yaml")
    result = run(HYDRA_TRAIN, "--config-dir", tmp_path, "--config-name", "tiny", cwd=tmp_path)
    assert len(result.updates) == 3
    assert_loss_is_sum(result, 2.0)


# Refusals


def assert_refused(result: Result, words: str) -> None:
    assert result.status == 1
    errors = [line for line in result.stderr.splitlines() if "error" in line.lower()]
    assert len(errors) == 1 and words in errors[0], result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    assert "examples from" not in result.stdout  # no data set was loaded


REFUSED = {  # flags and what the one line says
    (*ADAPTIVE, "--criterion", "rdrop_cross_entropy"): "the model has adaptive softmax (--adaptive-softmax-cutoff); "
    "must be rdrop_adaptive_loss",
    (*PLAIN, "--criterion", "rdrop_adaptive_loss", "--ddp-backend", "legacy_ddp"): "the model has no adaptive softmax "
    "(--adaptive-softmax-cutoff); must be rdrop_cross_entropy",
    (*ADAPTIVE, "--ddp-backend", "pytorch_ddp"): "--ddp-backend pytorch_ddp: AdaptiveLoss is not compatible",
    (*ADAPTIVE, *EXACT, "--rdrop-loss", "fused"): "--rdrop-loss fused: must be auto or plain with "
    "--rdrop-adaptive-divergence exact",
    (*ADAPTIVE, "--rdrop-adaptive-divergence", "full"): "--rdrop-adaptive-divergence full: must be one of published",
    (*PLAIN, "--task", "language_modeling", "--rdrop-every", "2"): "--rdrop-every 2: must be 1 with a task",
    ("--task", "masked_lm", "--arch", "roberta_base", *TINY[:4], "--tokens-per-sample", "8", *PLAIN[-4:]): "error: "
    "--task masked_lm: its targets are masked words; --criterion rdrop_cross_entropy is for tasks that predict the "
    "next word",
    (*PLAIN, *CUT, "--rdrop-cutoff-side", "source"): "error: --rdrop-cutoff 0.2 --rdrop-cutoff-side source: "
    "TransformerLanguageModel has no encoder",
    (*PLAIN, "--sample-break-mode", "eos"): "--sample-break-mode eos: fairseq needs numpy < 2 for it",
}


@pytest.mark.parametrize(("flags", "words"), REFUSED.items(), ids=REFUSED.values())
def test_one_line_before_any_data_is_loaded(data, flags, words):
    assert_refused(train(data, *flags, succeeds=False), words)


@pytest.mark.parametrize("target", ["past", "self"])
@pytest.mark.parametrize("task", ["language_modeling", "rdrop_language_modeling"])
def test_other_targets_are_the_parents_to_refuse(data, target, task):
    result = train(data, *PLAIN, "--task", task, f"--{target}-target", succeeds=False)
    assert f"Unsupported language modeling target: {target}" in result.stderr
