"""What the benchmarks share: seconds in interleaved rounds, peak memory, tables, JSON and PNG."""

import argparse
import ctypes
import gc
import json
import logging
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from versions import versions  # noqa: E402

logging.disable(logging.INFO)  # fairseq turns on what every library has to say

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Step = Callable[[], Any]


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """The options that the benchmarks of sizes share."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/performance"), help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, for trying")
    parser.add_argument("--rounds", type=positive, default=4, help="timings of each, at least 1 (default: %(default)s)")
    parser.add_argument("--cpu", action="store_true", help="measure on the CPU where there is a GPU")
    parser.add_argument("--memory-of", type=json.loads, help=argparse.SUPPRESS)
    return parser


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return number


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(steps: Mapping[str, Step], rounds: int, device: str) -> dict[str, list[float]]:
    """Time of each step in each round: all of them in turn, so that a busy machine disturbs them alike.

    Each round has an order of its own, so that none always runs behind the same one.
    """
    measured: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps.items())
    for number in range(-1, rounds):  # the first round warms up
        random.Random(number).shuffle(order)
        for name, step in order:
            synchronize(device)
            start = time.perf_counter()
            step()
            synchronize(device)
            if number >= 0:
                measured[name].append(time.perf_counter() - start)
    return measured


def ratio(measured: Mapping[str, list[float]], name: str, peer: str) -> float:
    """Median over the rounds of the time of ``name`` over that of ``peer`` in the same round."""
    return median(own / other for own, other in zip(measured[name], measured[peer], strict=True))


def peak_bytes(step: Step, device: str) -> int:
    """How far memory rises while a step runs. On the CPU (Linux) that of the process, which must be a fresh one."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    # Every tensor a mapping of its own (M_MMAP_THRESHOLD), which goes back to the system when it is freed.
    ctypes.CDLL(None).mallopt(-3, 1 << 16)
    Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS")
    step()
    return status_bytes("VmHWM") - before


def status_bytes(field: str, path: str = "/proc/self/status") -> int:
    """A field of a /proc file that counts in kB."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(path).read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"no {field} in {path}")
    return int(found[1]) * 1024


def free_bytes(device: str) -> int:
    return torch.cuda.mem_get_info()[0] if device == "cuda" else status_bytes("MemAvailable", "/proc/meminfo")


def in_a_fresh_process(script: str, setting: dict[str, Any]) -> int | None:
    """What the script prints when it is called with --memory-of SETTING; None if that fails, as out of memory."""
    command = [sys.executable, script, "--memory-of", json.dumps(setting)]
    # Large pages: a peer that takes many gigabytes would spend minutes on faults of small ones.
    environment = {**os.environ, "THP_MEM_ALLOC_ENABLE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        say(f"  {setting}: failed: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
        return None
    return int(done.stdout.split()[-1])


def markdown(rows: list[list[str]]) -> str:
    """A Markdown table; the first row is its head."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def write(out: Path, name: str, text: str, facts: dict[str, Any], draw: Callable[[Any], Any]) -> None:
    """Print the table and leave OUT/NAME.md, NAME.json and NAME.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    command = " ".join(["python", *sys.argv])
    text = f"`{command}`\n\n{text}\n```\n{versions()}```\n"
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    record = {"command": command, "versions": versions().splitlines(), **facts}
    (out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    figure = draw(pyplot)
    figure.tight_layout()
    figure.savefig(out / f"{name}.png", dpi=100)
    say(f"Written: {out}/{name}.md, .json, .png")
