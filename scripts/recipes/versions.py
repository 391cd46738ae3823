"""Tell what a measurement was made with: the commit, the versions and the hardware."""

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from recipes.cli import ROOT

PACKAGES = (
    *("torch", "fairseq-fixed", "numpy", "hydra-core", "omegaconf", "sacrebleu"),
    *("sacremoses", "subword-nmt", "ctranslate2"),
)


def git(*arguments: str) -> str | None:
    """Return what git says of this checkout, None if it is not installed, refuses, or finds no checkout here."""
    # Without this, git would find the checkout that this folder lies in, if it has none of its own.
    env = os.environ | {"GIT_CEILING_DIRECTORIES": str(ROOT.parent)}
    try:
        found = subprocess.run(["git", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return found.stdout.strip() if found.returncode == 0 else None


def commit() -> str:
    """Return the commit of this checkout or "unknown"; with "-dirty" if files differ that no measurement writes."""
    name = git("describe", "--always")
    written = (f":(exclude,glob)results/**/*.{kind}" for kind in ("json", "md", "png"))
    changed = git("--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--", ".", *written)
    return "unknown" if name is None or changed is None else f"{name}-dirty" if changed else name


def cpu() -> str:
    """Return the name of the CPU, or its kind where the system does not tell the name."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def device_in(text: str, kind: str) -> str:
    """Return the name of the "gpu" or the "cpu" in a text of `versions`, "unknown" if it has none."""
    names = (line.removeprefix(kind).partition(",")[0].strip() for line in text.splitlines() if line.startswith(kind))
    return next(names, "unknown")


def versions() -> str:
    """Return a text with a line for the commit, for each version, and for the GPU and the CPU."""
    lines = [f"rdrop_fairseq {commit()}", f"python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            lines.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"{package} not installed")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    lines.append(f"gpu {', '.join(gpus) or 'none'}")
    lines.append(f"cpu {cpu()}, {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used")
    return "\n".join(lines) + "\n"
