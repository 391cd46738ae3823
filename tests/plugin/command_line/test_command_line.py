"""The plugin through fairseq's own command line: trainings of a tiny model on a made-up corpus."""

import functools
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import fairseq
import pytest
import torch
from omegaconf import OmegaConf
from support.command_line import (
    BASELINE,
    BIN,
    FROZEN,
    GENERATE,
    HYDRA_TRAIN,
    INTERACTIVE,
    LSTM,
    ONE_CPU,
    RDROP,
    TINY,
    TRAIN,
    TRANSFORMER,
    USER_DIR,
    Result,
    make_data,
    parameters,
    run,
    run_program,
    train,
    train_argv,
    two_processes,
)
from support.places import ROOT

ROUNDING = 0.003  # of a loss: fairseq logs three decimals
DROPOUT = ("--dropout", "0.3")
NO_DROPOUT = ("--dropout", "0")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def trained(data: Path) -> Callable[..., Result]:
    """fairseq-train with the given flags; what was trained before is not trained again."""
    return functools.cache(functools.partial(train, data))


@pytest.fixture(scope="session")
def run_folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of an R-Drop run of six updates, and its log as ``log``."""
    folder = tmp_path_factory.mktemp("run")
    result = train(data, *RDROP, *SCHEDULE, "--max-update", "6", save_dir=folder)
    (folder / "log").write_text(result.stdout)
    return folder


SCHEDULE = (*DROPOUT, "--rdrop-every", "2", "--rdrop-warmup-updates", "4")


def assert_loss_is_sum(result: Result, passes: int = 2, alpha: float = 5.0) -> None:
    """With no label smoothing, loss = passes * nll_loss + alpha * kl_loss."""
    assert result.column("rdrop_alpha") == [alpha] * len(result.updates)
    assert min(result.column("kl_loss")) > 0.001
    sums = [passes * update["nll_loss"] + alpha * update["kl_loss"] for update in result.updates]
    assert result.column("loss") == pytest.approx(sums, abs=ROUNDING)


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


def readme_command(program: str, data: Path) -> list[str]:
    """The first call of ``program`` in the README's indented blocks, with ``data`` for DATA."""
    command = re.search(
        rf"^    {program} DATA (?:.*\\\n)*.*", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    return [str(data) if word == "DATA" else word for word in shlex.split(command[0].replace("\\\n", ""))]


def test_the_readmes_quick_start(data, tmp_path):
    program, *argv = readme_command("fairseq-train", data)
    tiny = [*ONE_CPU, *TINY, "--max-update", "1", "--log-format", "json", "--log-interval", "1", "--save-dir", tmp_path]
    trained = run_program([BIN / program, *argv, *tiny], cwd=ROOT)
    assert trained.status == 0, trained.stderr
    assert trained.updates[0]["rdrop_alpha"] == 5

    _, *argv = readme_command("fairseq-generate", data)
    generated = run(GENERATE, *argv, "--path", tmp_path / "checkpoint_best.pt", "--cpu", "--max-len-b", "10", cwd=ROOT)
    assert "Generate test with beam=5: BLEU4" in generated.stdout


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
    kinds = {kind: trained(*flags, kind) for kind in ("symmetric", "forward", "reverse", "js")}
    for result in kinds.values():
        assert_loss_is_sum(result)
    for symmetric, forward, reverse, js in zip(*(result.column("kl_loss") for result in kinds.values()), strict=True):
        assert symmetric == pytest.approx((forward + reverse) / 2, abs=1e-4)
        assert forward != reverse
        assert 0 < js < symmetric / 2


def test_one_dropout_rate_for_each_pass(trained):
    flags = (*RDROP, *FROZEN, "--label-smoothing", "0")
    off = trained(*flags, *DROPOUT, "--rdrop-dropouts", "0,0")
    assert off.column("kl_loss") == [0] * 4
    assert off.column("loss") == pytest.approx(trained(*flags, *NO_DROPOUT).column("loss"), abs=0.001)
    low, high = (trained(*flags, *DROPOUT, "--rdrop-dropouts", rates) for rates in ("0.1,0.3", "0.1,0.6"))
    assert_loss_is_sum(low)
    assert all(a < b for a, b in zip(low.column("kl_loss"), high.column("kl_loss"), strict=True))
    assert_loss_is_sum(trained(*flags, *DROPOUT, "--rdrop-passes", "3", "--rdrop-dropouts", "0.1,0.2,0.3"), passes=3)


@pytest.mark.parametrize(
    "flags, reason",
    [
        ([*DROPOUT, "--checkpoint-activations"], "does not go with --checkpoint-activations"),
        (NO_DROPOUT, "needs a model with dropout; all dropout rates of this one are 0"),
    ],
)
def test_a_model_that_cannot_take_a_rate_for_each_pass_is_refused(data, tmp_path, flags, reason):
    flags = (*RDROP, *flags, "--rdrop-dropouts", "0.1,0.4")
    result = train(data, *flags, succeeds=False, save_dir=tmp_path)
    assert result.status == 1
    assert f"error: --rdrop-dropouts {reason}" in result.stderr.splitlines()
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "crash.pt").exists()


def test_the_models_own_dropout_comes_back(trained):
    rdrop = trained(*RDROP, *DROPOUT, *FROZEN, "--rdrop-every", "2", "--rdrop-dropouts", "0,0")
    baseline = trained(*BASELINE, *DROPOUT, *FROZEN)
    assert rdrop.column("loss")[2] == baseline.column("loss")[2]


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


# Several processes, and several batches an update

# A user-dir of the tests: a transformer whose dropout depends on its input alone, so that a batch gets the same
# divergence above 0 on whichever process it runs, and in whichever order.
SEEDED_MODEL = """
import rdrop_fairseq
import torch
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import TransformerModel, base_architecture

@register_model("seeded_transformer")
class SeededTransformer(TransformerModel):
    def forward(self, src_tokens, *args, **kwargs):
        torch.manual_seed(int(src_tokens.sum()))
        return super().forward(src_tokens, *args, **kwargs)

register_model_architecture("seeded_transformer", "seeded_transformer")(base_architecture)
"""
SGD = ("--optimizer", "sgd", "--lr", "0.2")  # Adam turns rounding errors of gradients near 0 into steps
SIX_UPDATES = (*SGD, *DROPOUT, "--max-update", "6")


@pytest.fixture(scope="session")
def seeded(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """``train_argv`` of R-Drop for the model above."""
    user_dir = tmp_path_factory.mktemp("user") / "seeded_model"
    user_dir.mkdir()
    (user_dir / "__init__.py").write_text(SEEDED_MODEL)
    model = ("--arch", "seeded_transformer", *TRANSFORMER[2:])
    return functools.partial(train_argv, data, *RDROP, *model, user_dir=user_dir)


def test_update_freq_sums_the_batches(seeded):
    one = run(TRAIN, *seeded(*FROZEN, *DROPOUT, "--max-update", "5")).updates
    two = run(TRAIN, *seeded(*FROZEN, *DROPOUT, "--max-update", "3", "--update-freq", "2")).updates
    assert len(two) == 3
    for update, batches in zip(two, (one[:2], one[2:4], one[4:]), strict=True):
        words = sum(batch["wpb"] for batch in batches)
        assert update["wpb"] == words
        for key in ("loss", "nll_loss", "kl_loss", "rdrop_alpha"):
            mean = sum(batch[key] * batch["wpb"] for batch in batches) / words
            assert update[key] == pytest.approx(mean, abs=0.001), key


@pytest.mark.parametrize(
    ("init", "option"),
    [("tcp", []), ("env", ["--rdrop-every", "2", "--report-accuracy"]), ("tcp", ["--sentence-avg"])],
    ids=["tcp", "env, every 2nd update", "tcp, sentence-avg"],
)
def test_two_processes_equal_update_freq_2(seeded, tmp_path, init, option):
    # Five batches an epoch, so that the second process gets a dummy batch in updates 3 and 6.
    two = two_processes(init, seeded(*SIX_UPDATES, *option, save_dir=tmp_path / "two"))
    one = run(TRAIN, *seeded(*SIX_UPDATES, *option, "--update-freq", "2", save_dir=tmp_path / "one"))

    assert len(two.updates) == 6
    assert [update["epoch"] for update in two.updates] == [1, 1, 1, 2, 2, 2]
    assert max(two.column("kl_loss")) > 0.01
    alphas = [0, 5] * 3 if "--rdrop-every" in option else [5] * 6
    assert two.column("rdrop_alpha") == alphas
    for update, expected in zip(two.updates, one.updates, strict=True):
        assert update == pytest.approx(expected, abs=0.0015)
    assert two.valid == pytest.approx(one.valid, abs=0.0015)
    models = parameters(tmp_path / "two"), parameters(tmp_path / "one")
    for name, parameter in models[0].items():
        assert torch.allclose(parameter, models[1][name], rtol=1e-4, atol=1e-6), name


def test_resume_on_two_processes(seeded, tmp_path):
    flags = (*SIX_UPDATES, "--rdrop-every", "2")
    four = two_processes("tcp", seeded(*flags, "--max-update", "4", save_dir=tmp_path))
    six = two_processes("tcp", seeded(*flags, save_dir=tmp_path))
    assert (len(four.updates), len(six.updates)) == (4, 2)
    one = run(TRAIN, *seeded(*flags, "--update-freq", "2"))
    for update, expected in zip(four.updates + six.updates, one.updates, strict=True):
        assert update == pytest.approx(expected, abs=0.0015)


def test_two_processes_resume_as_one(seeded, tmp_path):
    # An epoch has three updates, so the first run ends in the middle of one.
    four = two_processes("tcp", seeded(*SIX_UPDATES, "--max-update", "4", save_dir=tmp_path))
    six = run(TRAIN, *seeded(*SIX_UPDATES, "--update-freq", "2", save_dir=tmp_path))
    whole = run(TRAIN, *seeded(*SIX_UPDATES, "--update-freq", "2"))
    assert (len(four.updates), len(six.updates)) == (4, 2)
    for update, expected in zip(four.updates + six.updates, whole.updates, strict=True):
        assert update == pytest.approx(expected, abs=0.0015)


# Checkpoints


def test_resume_goes_on_as_if_never_stopped(data, run_folder, tmp_path):
    whole = Result(0, (run_folder / "log").read_text(), "")
    first = train(data, *RDROP, *SCHEDULE, "--max-update", "3", save_dir=tmp_path)
    second = train(data, *RDROP, *SCHEDULE, "--max-update", "6", save_dir=tmp_path)
    assert "Loaded checkpoint" in second.stdout
    assert len(first.updates) == len(second.updates) == 3
    assert whole.column("rdrop_alpha") == [0, 1.25, 0, 3.75, 0, 5]
    assert first.updates + second.updates == whole.updates
    assert second.valid["valid_loss"] == whole.valid["valid_loss"]
    resumed = parameters(tmp_path)
    assert all(torch.equal(parameter, resumed[name]) for name, parameter in parameters(run_folder).items())


@pytest.mark.parametrize("option", [(), ("--update-epoch-batch-itr", "True")], ids=["one order", "anew in every epoch"])
def test_resume_in_a_later_epoch_with_a_seed_that_grows(data, trained, tmp_path, option):
    flags = (*RDROP, *DROPOUT, "--update-ordered-indices-seed", *option)
    whole = trained(*flags, "--max-update", "12")
    first, second = (train(data, *flags, "--max-update", count, save_dir=tmp_path) for count in ("7", "12"))
    assert [update["epoch"] for update in second.updates] == [2, 2, 2, 3, 3]
    assert first.updates + second.updates == whole.updates


def test_a_checkpoint_holds_the_model_once(run_folder):
    assert torch.load(run_folder / "checkpoint_last.pt", weights_only=True)["criterion"] is None


def generate(data: Path, checkpoint: Path, **options: bool) -> Result:
    flags = ("--user-dir", USER_DIR, "--task", "rdrop_translation", "--cpu", "--beam", "2", "--max-len-b", "10")
    return run(GENERATE, data, "--path", checkpoint, *flags, **options)


def test_generate(data, run_folder):
    result = generate(data, run_folder / "checkpoint_best.pt")
    assert sum(line.startswith("H-") for line in result.stdout.splitlines()) == 8
    assert "Generate test with beam=2: BLEU4" in result.stdout


def test_interactive(data, run_folder, tmp_path):
    (tmp_path / "input").write_text("de1 de2 de3\nde4 de5\n")
    argv = (data, "--path", run_folder / "checkpoint_best.pt", "--user-dir", USER_DIR, "--cpu", "--max-len-b", "10")
    result = run(INTERACTIVE, *argv, "--input", tmp_path / "input")
    assert [line.split("\t")[0] for line in result.stdout.splitlines() if line.startswith("H-")] == ["H-0", "H-1"]


class _Malicious:
    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self):
        return os.mkdir, (str(self.touched),)


def test_a_checkpoint_that_holds_code_is_refused(data, run_folder, tmp_path):
    checkpoint = torch.load(run_folder / "checkpoint_best.pt", weights_only=True)
    torch.save({**checkpoint, "surprise": _Malicious(tmp_path / "touched")}, tmp_path / "checkpoint_last.pt")
    for result in (
        generate(data, tmp_path / "checkpoint_last.pt", succeeds=False),
        train(data, *RDROP, *SCHEDULE, save_dir=tmp_path, succeeds=False),
    ):
        assert result.status != 0
        assert "Weights only load failed" in result.stderr
        assert "mkdir" in result.stderr
        assert not (tmp_path / "touched").exists()


# fairseq-hydra-train


@pytest.fixture
def hydra_config(data: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Write a config, with changes to its criterion, and return the arguments that name it."""

    def write(**criterion: object) -> list[str]:
        side = {"embed_dim": 16, "ffn_embed_dim": 16, "layers": 1, "attention_heads": 2}
        config = {
            "common": {"user_dir": USER_DIR, "cpu": True, "seed": 7, "log_format": "json", "log_interval": 1},
            "checkpoint": {"save_dir": str(tmp_path / "checkpoints"), "no_epoch_checkpoints": True},
            "distributed_training": {"distributed_world_size": 1},
            "task": {
                "_name": "rdrop_translation",
                "data": str(data),
                "eval_bleu": True,  # puts numpy's types into the checkpoints
                "eval_bleu_args": '{"beam": 1, "max_len_b": 10}',
            },
            "criterion": {
                "_name": "rdrop_label_smoothed_cross_entropy",
                "rdrop_alpha": 2.0,
                "rdrop_passes": 2,
                "label_smoothing": 0.0,
                **criterion,
            },
            "dataset": {"batch_size": 8, "required_batch_size_multiple": 1, "num_workers": 0},
            "optimizer": {"_name": "adam"},
            "lr_scheduler": {"_name": "fixed"},
            "optimization": {"lr": [0.01], "max_update": 4},
            "model": {"_name": "transformer", "dropout": 0.3, "encoder": side, "decoder": side},
            "hydra": {"run": {"dir": "."}, "output_subdir": None},
        }
        OmegaConf.save(OmegaConf.create(config), tmp_path / "tiny.yaml")
        return ["--config-dir", str(tmp_path), "--config-name", "tiny"]

    return write


def test_hydra_trains_resumes_and_generates(data, hydra_config, tmp_path):
    argv = hydra_config()
    result = run(HYDRA_TRAIN, *argv, cwd=tmp_path)
    assert len(result.updates) == 4
    assert_loss_is_sum(result, alpha=2.0)
    resumed = run(HYDRA_TRAIN, *argv, "optimization.max_update=6", "criterion.rdrop_alpha=1.5", cwd=tmp_path)
    assert len(resumed.updates) == 2
    assert_loss_is_sum(resumed, alpha=1.5)
    assert "BLEU4" in generate(data, tmp_path / "checkpoints" / "checkpoint_best.pt").stdout


def test_hydra_train_as_a_program(hydra_config, tmp_path):
    argv = [*hydra_config(), "criterion.rdrop_alpha=3", "+criterion.rdrop_every=2", "common.bf16=true"]
    result = run_program([BIN / "fairseq-hydra-train", *argv], cwd=tmp_path)
    assert result.status == 0, result.stderr
    assert result.column("rdrop_alpha") == [0, 3, 0, 3]
    assert [kl_loss > 0 for kl_loss in result.column("kl_loss")] == [False, True, False, True]


@pytest.mark.parametrize(
    ("criterion", "override", "message"),
    [
        ({"rdrop_alfa": 1}, [], "rdrop_alfa"),
        ({}, ["+criterion.rdrop_alfa=1"], "rdrop_alfa"),
        ({}, ["criterion.rdrop_alfa=1"], "rdrop_alfa"),
        ({"rdrop_passes": "two"}, [], "Value 'two' of type 'str' could not be converted to Integer"),
        ({}, ["criterion.rdrop_alpha=lots"], "Value 'lots' of type 'str' could not be converted to Float"),
        ({}, ["criterion.rdrop_alpha=-1"], "error: --rdrop-alpha -1.0: must be a finite number >= 0"),
        ({"rdrop_passes": 1}, [], "error: --rdrop-passes 1: must be an integer >= 2"),
    ],
)
def test_hydra_refuses(hydra_config, tmp_path, criterion, override, message):
    result = run(HYDRA_TRAIN, *hydra_config(**criterion), *override, cwd=tmp_path, succeeds=False)
    assert result.status == 1
    assert message in result.stderr
    assert "examples from" not in result.stdout
    if message.startswith("error: "):
        assert "Traceback" not in result.stderr


# Bad flags

BAD_FLAGS = {
    "--rdrop-alpha=-1": "error: --rdrop-alpha -1.0: must be a finite number >= 0",
    "--rdrop-alpha=nan": "error: --rdrop-alpha nan: must be a finite number >= 0",
    "--rdrop-alpha=inf": "error: --rdrop-alpha inf: must be a finite number >= 0",
    "--rdrop-alpha=lots": "error: argument --rdrop-alpha: invalid float value: 'lots'",
    "--rdrop-passes=1": "error: --rdrop-passes 1: must be an integer >= 2",
    "--rdrop-passes=2.5": "error: argument --rdrop-passes: invalid int value: '2.5'",
    "--rdrop-every=0": "error: --rdrop-every 0: must be an integer >= 1",
    "--rdrop-warmup-updates=-1": "error: --rdrop-warmup-updates -1: must be an integer >= 0",
    "--rdrop-divergence=jsd": "error: --rdrop-divergence jsd: must be one of symmetric, forward, reverse, js",
    **{
        f"--rdrop-dropouts={rates}": f"error: --rdrop-dropouts {rates}: must be 2 rates in [0, 1), "
        "one for each pass, separated by commas"
        for rates in ("0.1", "0.1,0.2,0.3", "0.1,1", "-0.1,0.1", "nan,0.1", "0.1,", "high,low")
    },
    "--rdrop-passes=3 --rdrop-dropouts=0.1,0.2": "error: --rdrop-dropouts 0.1,0.2: must be 3 rates in [0, 1), "
    "one for each pass, separated by commas",
    **{
        f"--task=translation --{flag}=3": f"error: --{flag} 3: must be {allowed} ... or rdrop_translation"
        for flag, allowed in (("rdrop-every", 1), ("rdrop-warmup-updates", 0))
    },
}


def assert_refused(result: Result, message: str) -> None:
    assert result.status in (1, 2)
    errors = [line for line in result.stderr.splitlines() if "error" in line.lower()]
    assert len(errors) == 1
    assert errors[0].startswith(("error: --rdrop-", "fairseq-train: error: argument --rdrop-"))
    assert re.fullmatch(".*" + re.escape(message).replace(r"\.\.\.", ".*"), errors[0])
    assert "Traceback" not in result.stderr + result.stdout
    assert "examples from" not in result.stdout  # no data set was loaded


@pytest.mark.parametrize(("flags", "message"), BAD_FLAGS.items(), ids=BAD_FLAGS)
def test_a_bad_flag_gets_one_line(data, flags, message):
    assert_refused(train(data, *RDROP, *flags.split(), succeeds=False), message)


def test_a_bad_flag_as_a_shell_sees_it(data, tmp_path):
    argv = train_argv(data, *RDROP, "--rdrop-passes", "1", user_dir="rdrop_fairseq", save_dir=tmp_path)
    result = run_program([BIN / "fairseq-train", *argv], cwd=ROOT)
    assert_refused(result, BAD_FLAGS["--rdrop-passes=1"])
    assert result.status == 1


@pytest.mark.parametrize("criterion", ["label_smoothed_cross_entropy", "cross_entropy", "adaptive_loss"])
@pytest.mark.parametrize("task", ["sentence_prediction", "translation_lev"])
def test_a_task_that_it_is_not_for_gets_one_line(data, tmp_path, task, criterion):
    flags = ["--task", task, "--criterion", f"rdrop_{criterion}", "--ddp-backend", "legacy_ddp"]
    if task == "translation_lev":
        flags += ["--arch", "levenshtein_transformer", *TINY]
    else:
        for part in ("input0", "label"):
            (tmp_path / part).mkdir()
            shutil.copy(data / "dict.en.txt", tmp_path / part / "dict.txt")
        flags += ["--arch", "roberta_base", "--num-classes", "2", *TINY[:4]]
        data = tmp_path
    result = train(data, *flags, succeeds=False)
    assert result.status == 1
    errors = [line for line in result.stderr.splitlines() if "error" in line.lower()]
    assert len(errors) == 1 and errors[0].startswith(f"error: --task {task}: its targets are ")
    assert f"--criterion rdrop_{criterion} is for tasks that predict the next word" in errors[0]
    assert "Traceback" not in result.stderr + result.stdout and "examples from" not in result.stdout


# --user-dir (most tests give the absolute path, the README's command above the relative one)


def test_user_dir_by_the_bare_name_of_an_installed_package(data, tmp_path):
    source, site, elsewhere = (tmp_path / name for name in ("source", "site-packages", "elsewhere"))
    elsewhere.mkdir()
    shutil.copytree(USER_DIR, source / "rdrop_fairseq")
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation"]
    installed = run_program([*pip, "--target", site, source], cwd=elsewhere)
    assert installed.status == 0, installed.stderr
    # fairseq looks for the package beside itself: in the same site-packages, which here holds links to its files.
    shutil.copytree(Path(fairseq.__file__).parent, site / "fairseq", copy_function=os.symlink)

    argv = train_argv(data, *RDROP, "--max-update", "1", user_dir="rdrop_fairseq")
    command = [sys.executable, "-c", "from fairseq_cli.train import cli_main; cli_main()", *argv]
    result = run_program(command, cwd=elsewhere, PYTHONPATH=str(site))
    assert result.status == 0, result.stderr
    assert result.updates[0]["rdrop_alpha"] == 5
