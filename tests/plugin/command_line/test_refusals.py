"""fairseq-train with R-Drop on a made-up corpus: what is refused with one line before any data is loaded."""

import re
import shutil
from pathlib import Path

import pytest
from fairseq import options
from support.command_line import (
    DROPOUT,
    NO_DROPOUT,
    RDROP,
    TINY,
    TRAIN,
    Result,
    run_as_program,
    train,
    train_argv,
)
from support.helpers import build_task
from support.places import ROOT


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


# Bad flags

BAD_FLAGS = {
    "--rdrop-alpha=-1": "error: --rdrop-alpha -1.0: must be a finite number >= 0",
    "--rdrop-alpha=nan": "error: --rdrop-alpha nan: must be a finite number >= 0",
    "--rdrop-alpha=inf": "error: --rdrop-alpha inf: must be a finite number >= 0",
    "--rdrop-alpha=lots": "error: argument --rdrop-alpha: invalid float value: 'lots'",
    "--rdrop-passes=1": "error: --rdrop-passes 1: must be an integer >= 2",
    "--rdrop-passes=2.5": "error: argument --rdrop-passes: invalid int value: '2.5'",
    "--rdrop-every=0": "error: --rdrop-every 0: must be an integer >= 1",
    **{
        f"--rdrop-{name}=-1": f"error: --rdrop-{name} -1: must be an integer >= 0"
        for name in ("warmup-updates", "start-update", "decay-updates")
    },
    "--rdrop-divergence=jsd": "error: --rdrop-divergence jsd: must be one of symmetric, forward, reverse, js, "
    "bhattacharyya",
    **{
        f"--rdrop-pass-weights={weights}": f"error: --rdrop-pass-weights {weights}: must be 2 finite numbers >= 0, "
        "one for each pass, not all 0, separated by commas"
        for weights in ("1", "1,0,0", "0,0", "1,-1", "nan,1", "inf,1", "1,", "one,two")
    },
    **{f"--rdrop-fraction={f}": f"error: --rdrop-fraction {f}: must be a number in (0, 1]" for f in ("0.0", "1.5")},
    **{f"--rdrop-cutoff={p}": f"error: --rdrop-cutoff {p}: must be a number in [0, 1)" for p in ("-0.1", "1.0", "nan")},
    "--rdrop-cutoff-unit=word": "error: --rdrop-cutoff-unit word: must be one of token, span, feature",
    "--rdrop-cutoff-replacement=mask": "error: --rdrop-cutoff-replacement mask: must be one of zero, unk",
    "--rdrop-cutoff-replacement=unk --rdrop-cutoff-unit=feature": "error: --rdrop-cutoff-replacement unk: must be zero "
    "with --rdrop-cutoff-unit feature",
    "--rdrop-cutoff-side=encoder": "error: --rdrop-cutoff-side encoder: must be one of source, target, both",
    **{
        f"--rdrop-cutoff-passes={passes}": f"error: --rdrop-cutoff-passes {passes}: must be different numbers from 1 "
        "to 2, separated by commas"
        for passes in ("0", "3", "2,2", "1.5", "", "last")
    },
    **{
        f"--rdrop-dropouts={rates}": f"error: --rdrop-dropouts {rates}: must be 2 rates in [0, 1), "
        "one for each pass, separated by commas"
        for rates in ("0.1", "0.1,0.2,0.3", "0.1,1", "-0.1,0.1", "nan,0.1", "0.1,", "high,low")
    },
    "--rdrop-passes=3 --rdrop-dropouts=0.1,0.2": "error: --rdrop-dropouts 0.1,0.2: must be 3 rates in [0, 1), "
    "one for each pass, separated by commas",
    **{
        f"--task=translation --{flag}=3": f"error: --{flag} 3: must be {allowed} ... or rdrop_translation"
        for flag, allowed in (
            ("rdrop-every", 1),
            ("rdrop-warmup-updates", 0),
            ("rdrop-start-update", 0),
            ("rdrop-decay-updates", 0),
        )
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


def test_a_bad_flag_as_a_shell_sees_it(data, tmp_path):
    argv = train_argv(data, *RDROP, "--rdrop-passes", "1", user_dir="rdrop_fairseq", save_dir=tmp_path)
    result = run_as_program(TRAIN, *argv, cwd=ROOT)
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


def refusal(*flags):
    """Return the line with which a criterion refuses the flags, or fairseq's parser the value of one."""
    argv = train_argv(Path("DATA"), *RDROP, *flags)
    args = options.parse_args_and_arch(options.get_training_parser(), argv)
    with pytest.raises(SystemExit) as stopped:
        build_task(args.task).build_criterion(args)
    return stopped.value.code


@pytest.mark.parametrize(("flags", "message"), BAD_FLAGS.items(), ids=BAD_FLAGS)
def test_a_bad_flag_gets_one_line(flags, message, capsys):
    if message.startswith("error: argument"):
        with pytest.raises(SystemExit):
            refusal(*flags.split())
        line = capsys.readouterr().err.splitlines()[-1].split(": ", 1)[1]
    else:
        line = refusal(*flags.split())
    assert re.fullmatch(re.escape(message).replace(r"\.\.\.", ".*"), line)


@pytest.mark.parametrize(
    "flags",
    ["--rdrop-alpha=lots", "--rdrop-dropouts=high,low", "--task=translation --rdrop-every=3"],
)
def test_fairseq_train_ends_with_that_line_before_it_loads_data(data, flags):
    assert_refused(train(data, *RDROP, *flags.split(), succeeds=False), BAD_FLAGS[flags])
