"""fairseq's command-line entry points for the tests, each in a process of its own that starts in a moment.

fairseq takes seconds to import. A fork server imports it once; each call of an entry point then runs in a fresh fork of
it, with its own standard output and error, working directory and exit status. The server also imports the plugin, and
puts fairseq-train's configuration together a quicker way (``quick_config``). ``run_as_program`` gets both as users do,
through ``--user-dir`` and hydra: its processes are forks that have imported fairseq alone. ``run_program`` starts a
program as a shell does.
"""

import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from support.fork_server import ALL, PROGRAMS, Forked
from support.waiting import HANG

USER_DIR = str(Path(find_spec("rdrop_fairseq").origin).parent)
BIN = Path(sys.executable).parent

TRAIN, HYDRA_TRAIN = "fairseq_cli.train", "fairseq_cli.hydra_train"
PREPROCESS, GENERATE, INTERACTIVE = "fairseq_cli.preprocess", "fairseq_cli.generate", "fairseq_cli.interactive"
EVAL_LM = "fairseq_cli.eval_lm"

# Deterministic, and the same on a machine that has GPUs.
ONE_CPU = ("--cpu", "--distributed-world-size", "1", "--seed", "7", "--num-workers", "0")
TINY = tuple(
    f"--{side}-{flag}"
    for side in ("encoder", "decoder")
    for flag in ("embed-dim=16", "ffn-embed-dim=16", "layers=1", "attention-heads=2")
)
TRANSFORMER = ("--arch", "transformer", *TINY)
LSTM = ("--arch", "lstm", "--decoder-out-embed-dim", "16")
LSTM += tuple(f"--{side}-{flag}=16" for side in ("encoder", "decoder") for flag in ("embed-dim", "hidden-size"))
BASELINE = ("--task", "translation", "--criterion", "label_smoothed_cross_entropy", "--label-smoothing", "0.1")
LM = (
    "--arch",
    "transformer_lm_gpt2_tiny",
    "--decoder-embed-dim",
    "16",
    "--decoder-layers",
    "1",
    "--tokens-per-sample",
    "8",
)
ADAPTIVE_LM = (*LM, "--ddp-backend", "legacy_ddp", "--tie-adaptive-weights", "--tie-adaptive-proj", "--adaptive-input")
for kind in ("input", "softmax"):
    ADAPTIVE_LM += (f"--adaptive-{kind}-cutoff", "8,14", f"--adaptive-{kind}-factor", "2")
RDROP = ("--task", "rdrop_translation", "--criterion", "rdrop_label_smoothed_cross_entropy", "--label-smoothing", "0.1")
FROZEN = ("--lr", "0")  # the model stays as initialised, so that every update compares with another run's

ROUNDING = 0.003  # of a loss: fairseq logs three decimals
DROPOUT = ("--dropout", "0.3")
NO_DROPOUT = ("--dropout", "0")
SCHEDULE = (
    *DROPOUT, "--rdrop-every", "2", "--rdrop-warmup-updates", "4",
    "--rdrop-cutoff", "0.2", "--rdrop-cutoff-unit", "span", "--rdrop-fraction", "0.5",
)  # fmt: skip


@dataclass
class Result:
    """How a process ended, and what it printed."""

    status: int
    stdout: str
    stderr: str

    @property
    def updates(self) -> list[dict[str, float]]:
        """What was logged of each update."""
        return [log for log in self._json() if "gnorm" in log]

    @property
    def valid(self) -> dict[str, float]:
        """What the last validation logged, without times."""
        return [log for log in self._json() if "valid_loss" in log][-1]

    def column(self, key: str) -> list[float]:
        """Return the value of ``key`` at each update."""
        return [update[key] for update in self.updates]

    def _json(self) -> list[dict[str, float]]:
        logs = [json.loads(text) for text in re.findall(r'\{"epoch".*\}$', self.stdout, re.MULTILINE)]
        times = re.compile("(valid_|train_)?(wps|ups|wall|train_wall)$")
        numbers = [{key: value for key, value in log.items() if not isinstance(value, list)} for log in logs]
        return [{key: float(log[key]) for key in log if not times.match(key)} for log in numbers]


def start(entry: str, *argv: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> "Running":
    """Start ``entry`` (a module of fairseq_cli) with the arguments ``argv``."""
    return Running(entry, [str(arg) for arg in argv], cwd, env or {})


def run(entry: str, *argv: object, cwd: Path | None = None, succeeds: bool = True) -> Result:
    """Run ``entry`` to its end; unless told otherwise, it must end with status 0."""
    result = start(entry, *argv, cwd=cwd).result()
    assert not succeeds or result.status == 0, result.stdout[-2000:] + result.stderr
    return result


def run_as_program(entry: str, *argv: object, cwd: Path) -> Result:
    """Run ``entry``, a program of fairseq, in a process that has imported fairseq's programs and nothing else."""
    return Running(entry, [str(arg) for arg in argv], cwd, {}, PROGRAMS).result()


def run_program(command: Sequence[object], cwd: Path, **env: str) -> Result:
    """Run a program as a shell would, fairseq's start included."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def train_argv(data: Path, *flags: object, user_dir: str | Path = USER_DIR, save_dir: Path | None = None) -> list[str]:
    """Return the arguments of a tiny training that logs every update; later flags override earlier ones."""
    argv = [data, "--user-dir", user_dir, *ONE_CPU, "--log-format", "json", "--log-interval", "1"]
    argv += ["--optimizer", "adam", "--lr", "0.01", "--batch-size", "8", "--required-batch-size-multiple", "1"]
    argv += ["--max-update", "4", "--no-epoch-checkpoints"]
    argv += ["--no-save"] if save_dir is None else ["--save-dir", save_dir]
    return [str(arg) for arg in (*argv, *(() if "--arch" in flags else TRANSFORMER), *flags)]


def train(data: Path, *flags: object, succeeds: bool = True, **options: str | Path | None) -> Result:
    """Run fairseq-train on ``data``; the options are those of ``train_argv``."""
    return run(TRAIN, *train_argv(data, *flags, **options), succeeds=succeeds)


def generate(data: Path, checkpoint: Path, **options: bool) -> Result:
    """Run fairseq-generate on the test set with a checkpoint."""
    flags = ("--user-dir", USER_DIR, "--task", "rdrop_translation", "--cpu", "--beam", "2", "--max-len-b", "10")
    return run(GENERATE, data, "--path", checkpoint, *flags, **options)


def two_processes(init: str, argv: list[str]) -> Result:
    """Train on two processes that meet at a port given by a flag, or in the environment as by torchrun."""
    port = str(free_port())
    env = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"} if init == "env" else {}
    method = "env://" if init == "env" else f"tcp://127.0.0.1:{port}"
    argv = [*argv, "--distributed-world-size", "2", "--distributed-no-spawn"]
    argv += ["--distributed-init-method", method, "--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]
    ranks = [start(TRAIN, *argv, "--distributed-rank", rank, env={**env, "RANK": rank}) for rank in ("0", "1")]
    results = [rank.result() for rank in ranks]
    assert [result.status for result in results] == [0, 0], results[0].stderr + results[1].stderr
    return results[0]


def parameters(folder: Path) -> dict[str, torch.Tensor]:
    """Return the model in ``checkpoint_last.pt`` under ``folder``."""
    import rdrop_fairseq  # noqa: F401  (makes fairseq's checkpoints loadable)

    return torch.load(folder / "checkpoint_last.pt", weights_only=True)["model"]


def make_data(folder: Path, words: int = 12) -> Path:
    """Write a made-up corpus, 36 + 8 + 9 pairs of 2 to 9 words, and binarise it as ``folder/bin``.

    ``words`` is how many different words there are.
    """
    rng = random.Random(1)
    for split, size in (("train", 36), ("valid", 8), ("test", 9)):
        pairs = [[rng.randrange(words) for _ in range(rng.randint(2, 9))] for _ in range(size)]
        for lang in ("de", "en"):
            lines = (" ".join(f"{lang}{word}" for word in (pair if lang == "de" else reversed(pair))) for pair in pairs)
            (folder / f"{split}.{lang}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    prefixes = (f"--{split}pref={folder / split}" for split in ("train", "valid", "test"))
    run(PREPROCESS, "-s", "de", "-t", "en", *prefixes, "--joined-dictionary", "--destdir", folder / "bin")
    return folder / "bin"


def make_text(folder: Path, words: int = 18) -> Path:
    """Write a made-up text, 36 + 8 + 9 lines of 2 to 9 words or none, and binarise it as ``folder/bin``.

    ``words`` is how many different words there are.
    """
    rng = random.Random(1)
    for split, size in (("train", 36), ("valid", 8), ("test", 9)):
        lines = (
            " ".join(f"word{rng.randrange(words)}" for _ in range(rng.choice((0, *range(2, 10))))) for _ in range(size)
        )
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    prefixes = (f"--{split}pref={folder / split}.txt" for split in ("train", "valid", "test"))
    run(PREPROCESS, "--only-source", *prefixes, "--destdir", folder / "bin")
    return folder / "bin"


def free_port() -> int:
    """Return a TCP port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Running:
    """A process of the fork server that runs an entry point."""

    def __init__(self, entry: str, argv: list[str], cwd: Path | None, env: dict[str, str], stage: str = ALL) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="command_line_")
        folder = Path(self.folder.name)
        self.process = Forked(stage, entry, argv, folder, cwd or folder, env)

    def result(self) -> Result:
        """Wait for the end; a process that hangs is killed."""
        self.process.join(HANG)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        texts = [Path(self.folder.name, name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]
        self.folder.cleanup()
        return Result(self.process.exitcode, *texts)


def assert_loss_is_sum(result: Result, passes: int = 2, alpha: float = 5.0) -> None:
    """With no label smoothing, loss = passes * nll_loss + alpha * kl_loss."""
    assert result.column("rdrop_alpha") == [alpha] * len(result.updates)
    assert min(result.column("kl_loss")) > 0.001
    sums = [passes * update["nll_loss"] + alpha * update["kl_loss"] for update in result.updates]
    assert result.column("loss") == pytest.approx(sums, abs=ROUNDING)
