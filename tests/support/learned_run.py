"""Runs that evaluation is tested on: one that has learned its toy text by heart, and the Python tools that score it."""

import hashlib
from pathlib import Path

import yaml
from recipes.evaluation import decoding
from support import command_line
from support.toy_run import CONFIG


def tool(name: str, *options: object) -> command_line.Result:
    """Run scripts/NAME.py as its shell script would, in a process that has imported fairseq already."""
    return command_line.run("support.script_entry", name, *options, succeeds=False)


def tool_refused(name: str, *options: object) -> str:
    """Run scripts/NAME.py, check that it fails with one line on stderr, and return that line."""
    result = tool(name, *options)
    assert result.status != 0, result.stdout
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def train_learned(folder: Path, **sections: dict) -> Path:
    """Train a run that learns its toy text by heart, so that its BLEU is above 0; return the run folder.

    ``sections`` are settings of the config besides CONFIG's. The text is prepared in ``folder/data``; its validation
    and test sets are lines of the training set, validation and the test set made_up the same ones.
    """
    command_line.make_data(folder)
    data = folder / "data"
    for part in ("raw", "tok"):
        (data / part).mkdir(parents=True)
        for name, first, last in (("train", 0, 36), ("valid", 6, 15), ("made_up", 6, 15), ("another", 20, 30)):
            for lang in ("de", "en"):
                lines = (folder / f"train.{lang}").read_text().splitlines(keepends=True)
                (data / part / f"{name}.{lang}").write_text("".join(lines[first:last]))
    tests = f"{data}/tok/made_up,{data}/tok/another"
    prefixes = (f"--trainpref={data}/tok/train", f"--validpref={data}/tok/valid", f"--testpref={tests}")
    command_line.run(
        command_line.PREPROCESS, "-s", "de", "-t", "en", *prefixes, "--joined-dictionary", "--destdir", data / "bin"
    )
    (data / "testsets").write_text("made_up\nanother\n")
    run_folder = folder / "run"
    run_folder.mkdir()
    config = yaml.safe_load(CONFIG.format(data=data / "bin", criterion="label_smoothed_cross_entropy"))
    fixed = {
        "common": {"user_dir": command_line.USER_DIR, "seed": 3},
        "checkpoint": {"save_dir": str(run_folder / "checkpoints")},
        "model": {"dropout": 0.0},
        "hydra": {"run": {"dir": "."}, "output_subdir": None},
    }
    for settings_ in (fixed, sections):
        for section, values in settings_.items():
            config[section] = config.get(section, {}) | values
    (run_folder / "train.yaml").write_text(yaml.safe_dump(config))
    command_line.run(command_line.HYDRA_TRAIN, "--config-dir", run_folder, "--config-name", "train")
    return run_folder


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tree(folder: Path) -> dict[str, str]:
    """The checksums of all files under a folder, by path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fairseq_hypotheses(run_folder: Path, subset: str, *flags: object) -> list[list[decoding.Hypothesis]]:
    """What fairseq-generate, called with ``flags``, gives for a run of ``train_learned``."""
    where = ["--path", run_folder / "checkpoints/checkpoint_best.pt", "--results-path", run_folder.parent / "generated"]
    command_line.run(
        *(
            command_line.GENERATE,
            run_folder.parent / "data/bin",
            "--user-dir",
            command_line.USER_DIR,
            "--cpu",
            "--num-workers",
            0,
        ),
        *(
            "--gen-subset",
            subset,
            "--batch-size",
            10,
            "--required-batch-size-multiple",
            1,
            "--remove-bpe",
            *where,
            *flags,
        ),
    )
    return list(decoding.read_generated(run_folder.parent / f"generated/generate-{subset}.txt").values())
