"""What the benchmarks share: seconds in interleaved rounds, peak memory, tables, JSON and PNG.

How glibc hands out memory decides how long a step takes on a CPU, and most for what allocates most. So times are taken
both ways, with the settings that train.sh trains with and with glibc's own. A process reads them when it starts:
hence one process for each (`Workers`), which take turns, round by round.
"""

import argparse
import contextlib
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
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from pictures import Draw, write_picture  # noqa: E402
from recipes.versions import versions  # noqa: E402

logging.disable(logging.INFO)  # fairseq turns on what every library has to say

TRAIN_SH, DEFAULT = "malloc as train.sh sets it", "malloc as glibc sets it"
# What stands before a command that is to run with these settings.
ALLOCATORS: dict[str, list[str]] = {
    TRAIN_SH: ["bash", "-c", 'source "$0"; exec "$@"', str(ROOT / "scripts/recipes/malloc.sh")],
    DEFAULT: [],
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
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
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return number


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def one_round(steps: Mapping[str, Step], number: int, device: str) -> dict[str, float]:
    """Time of each step, all of them in turn, so that a busy machine disturbs them alike.

    Each round has an order of its own, so that none always runs behind the same one.
    """
    measured = {}
    order = list(steps.items())
    random.Random(number).shuffle(order)
    for name, step in order:
        synchronize(device)
        start = time.perf_counter()
        step()
        synchronize(device)
        measured[name] = time.perf_counter() - start
    return {name: measured[name] for name in steps}


def seconds(steps: Mapping[str, Step], rounds: int, device: str) -> dict[str, list[float]]:
    """Time of each step in each round, after one to warm up."""
    return by_step([one_round(steps, number, device) for number in range(-1, rounds)])


def by_step(rounds: list[dict[str, float]]) -> dict[str, list[float]]:
    """The times of all rounds but the first by name."""
    return {name: [times[name] for times in rounds[1:]] for name in rounds[0]}


class Workers:
    """A process of a benchmark for each way to allocate memory, which time the steps of a setting in turn.

    On a GPU there is one alone, for its memory is PyTorch's own matter.
    """

    def __init__(self, script: str, device: str) -> None:
        self.processes = {}
        for allocator in (TRAIN_SH,) if device == "cuda" else ALLOCATORS:
            command = [*ALLOCATORS[allocator], sys.executable, script, "--worker", *(["--cpu"] * (device == "cpu"))]
            self.processes[allocator] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
            )

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def ask(self, allocator: str, what: Any) -> Any:
        """The answer of a process to a line; exits where it gives none."""
        process = self.processes[allocator]
        assert process.stdin and process.stdout
        with contextlib.suppress(BrokenPipeError):  # of one that has ended: then it has no answer
            print(json.dumps(what), file=process.stdin, flush=True)
        answer = process.stdout.readline()
        if not answer:
            sys.exit(f"{allocator}: the process ended with status {process.wait()}; memory may have run out")
        return json.loads(answer)

    def seconds(self, setting: dict[str, Any], rounds: int) -> dict[str, dict[str, list[float]]]:
        """By way to allocate memory: the time of each step of the setting in each round."""
        measured: dict[str, list[dict[str, float]]] = {allocator: [] for allocator in self.processes}
        for allocator in self.processes:
            self.ask(allocator, setting)
        for number in range(-1, rounds):  # the first round warms up
            for allocator in sorted(self.processes, reverse=bool(number % 2)):
                measured[allocator].append(self.ask(allocator, number))
        for allocator in self.processes:
            self.ask(allocator, None)
        return {allocator: by_step(times) for allocator, times in measured.items()}


def tables(times: list[dict[str, Any]], table: Callable[[list[dict[str, Any]]], str]) -> str:
    """A table of the times of each way to allocate memory, each under its name."""
    allocators = dict.fromkeys(entry["allocator"] for entry in times)
    parts = ((name, [entry for entry in times if entry["allocator"] == name]) for name in allocators)
    return "\n".join(f"**{name}**\n\n{table(part)}" for name, part in parts)


def work(make_steps: Callable[[dict[str, Any]], Mapping[str, Step]], device: str) -> None:
    """Answer Workers, line by line: a setting makes the steps, a number times a round of them, null forgets them."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    steps: Mapping[str, Step] = {}
    for line in sys.stdin:
        told = json.loads(line)
        if isinstance(told, int):
            answer = one_round(steps, told, device)
        else:
            steps, answer = {}, {}
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)  # the next setting starts without kept pages
            if device == "cuda":
                torch.cuda.empty_cache()
            steps = make_steps(told) if told else {}
        print(json.dumps(answer), file=answers, flush=True)


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


def keep_pages() -> None:
    """Start the program anew with train.sh's settings of malloc, unless it has them."""
    if "MALLOC_TOP_PAD_" not in os.environ:
        command = [*ALLOCATORS[TRAIN_SH], sys.executable, *sys.argv]
        os.execvp(command[0], command)


def environment() -> dict[str, str]:
    """The environment without settings of glibc's malloc and without fairseq's warnings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    return kept | {"PYTHONWARNINGS": "ignore"}


def in_a_fresh_process(script: str, setting: dict[str, Any]) -> int | None:
    """What the script prints when it is called with --memory-of SETTING; None if that fails, as out of memory."""
    command = [sys.executable, script, "--memory-of", json.dumps(setting)]
    # Large pages: a peer that takes many gigabytes would spend minutes on faults of small ones.
    large_pages = {"THP_MEM_ALLOC_ENABLE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment() | large_pages)
    if done.returncode:
        say(f"  {setting}: failed: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
        return None
    return int(done.stdout.split()[-1])


def write(out: Path, name: str, text: str, facts: dict[str, Any], draw: Draw) -> None:
    """Print the table and leave OUT/NAME.md, NAME.json and NAME.png."""
    command = " ".join(["python", *sys.argv])
    text = f"`{command}`\n\n{text}\n```\n{versions()}```\n"
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    record = {"command": command, "versions": versions().splitlines(), **facts}
    (out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    write_picture(out / f"{name}.json", draw)
    say(f"Written: {out}/{name}.md, .json, .png")
