"""Tell what a measurement was made with: the commit, the versions and the hardware."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch

from recipes.cli import ROOT

PACKAGES = (
    *("torch", "fairseq-fixed", "numpy", "hydra-core", "omegaconf", "sacrebleu"),
    *("sacremoses", "subword-nmt", "ctranslate2"),
)


def commit() -> str:
    """Return the commit of this checkout, or "unknown" if git is not installed, refuses, or finds no checkout here."""
    # Without this, git would find the checkout that this folder lies in, if it has none of its own.
    env = os.environ | {"GIT_CEILING_DIRECTORIES": str(ROOT.parent)}
    command = ["git", "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return found.stdout.strip() if found.returncode == 0 else "unknown"


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
    lines.append(f"cpu {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used")
    return "\n".join(lines) + "\n"
