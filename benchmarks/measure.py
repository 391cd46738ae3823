"""What the benchmarks share: times in rounds, peak memory, and results as Markdown, JSON and PNG.

python benchmarks/measure.py FILE.json ... draws pictures of results again, from the JSON that a benchmark left. A
file's name begins with that of its benchmark, as in step_cpu.json; the picture goes beside it.

On a CPU, the time of a step depends on how glibc hands out memory, most of all if the step allocates much. So times are
taken both with the settings that train.sh trains with and with glibc's own. glibc reads its settings when a process
starts, so there is a process for each, and the processes take turns, round by round.
"""

import ctypes
import functools
import gc
import importlib
import json
import logging
import os
import random
import re
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

ROOT = Path(__file__).resolve().parent.parent
# The benchmarks run from a checkout, as python benchmarks/NAME.py, which puts only this folder on the path.
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from recipes import children, cli  # noqa: E402
from recipes.files import whole_file, write_whole  # noqa: E402
from recipes.quiet import quiet  # noqa: E402
from recipes.versions import versions  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TRAIN_SH, DEFAULT = "malloc as train.sh sets it", "malloc as glibc sets it"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Step = Callable[[], Any]
Facts = dict[str, Any]  # what stands in a JSON file, or in a part of it


def say(text: str) -> None:
    """Print a line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def arguments(doc: str | None, rounds: int, out: str = "results/performance") -> cli.Parser:
    """Return a parser with the options that the benchmarks of sizes share."""
    parser = cli.Parser(doc)
    parser.add_argument("--out", type=Path, default=Path(out), help="folder of the results (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="take tiny sizes, for trying")
    parser.add_argument("--rounds", type=cli.positive, default=rounds, help="timings of each (default: %(default)s)")
    return parser


def synchronize() -> None:
    """Wait until the GPU, if there is one, has done its work."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def one_round(steps: Mapping[str, Step], number: int) -> dict[str, float]:
    """Return the seconds of each step. All run in turn, so that other work on the machine disturbs them alike.

    Each round has another order, so that no step always runs after the same one.
    """
    measured = dict.fromkeys(steps, 0.0)
    for name in random.Random(number).sample(list(steps), len(steps)):
        synchronize()
        start = time.perf_counter()
        steps[name]()
        synchronize()
        measured[name] = time.perf_counter() - start
    return measured


def by_step(rounds: list[dict[str, float]]) -> dict[str, list[float]]:
    """Return the times of each step in all rounds but the first one, which warms up."""
    return {name: [times[name] for times in rounds[1:]] for name in rounds[0]}


def malloc_settings(allocator: str) -> dict[str, str]:
    """Return the variables of the environment that make a process allocate memory in this way."""
    script = (ROOT / "scripts/recipes/malloc.sh").read_text(encoding="utf-8")
    return {} if allocator == DEFAULT else dict(re.findall(r"(MALLOC_\w+)=\$\{\1:-(\d+)\}", script))


def start(settings: Mapping[str, str]) -> ProcessPoolExecutor:
    """Start a process with these variables in its environment, and no others for malloc. Return its pool of one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    pool = ProcessPoolExecutor(1, get_context("spawn"), _begin, (os.getpid(),))
    with patch.dict(os.environ, {**kept, "PYTHONWARNINGS": "ignore", **settings}, clear=True):
        pool.submit(int)  # starts the process, which reads its environment
    return pool


def _begin(parent: int) -> None:
    """Prepare the process that measures."""
    os.dup2(2, 1)  # only tables go to the standard output, not what a library prints
    logging.disable(logging.INFO)  # fairseq makes every library log
    children.end_with(parent)


worker = functools.cache(lambda allocator: start(malloc_settings(allocator)))


def ask(allocator: str, function: Callable[..., Any], *args: Any) -> Any:
    """Return what a function returns in the process that allocates memory in this way. Exit if the process dies."""
    try:
        return worker(allocator).submit(function, *args).result()
    except BrokenProcessPool:
        sys.exit(f"{allocator}: the process has ended too early; memory may have run out")


_steps: dict[str, Step] = {}  # of the present setting, in a process of `worker`


def _make_steps(make: Callable[[Facts], Mapping[str, Step]], setting: Facts) -> None:
    """Make the steps of a setting, from memory that holds nothing of the one before."""
    _steps.clear()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # so that the next setting starts without kept pages
    torch.cuda.empty_cache()
    _steps.update(make(setting))


def _time_steps(number: int) -> dict[str, float]:
    """Return the times of one round of the steps."""
    return one_round(_steps, number)


def measure_times(make: Callable[[Facts], Mapping[str, Step]], setting: Facts, rounds: int) -> list[Facts]:
    """Time the steps that `make` returns for a setting. On a GPU, PyTorch hands out memory, so there is one way alone.

    Returns:
        For each way to allocate memory the setting, the way as "allocator", and "seconds" by step and round.
    """
    allocators = [TRAIN_SH] if DEVICE == "cuda" else [TRAIN_SH, DEFAULT]
    measured: dict[str, list[dict[str, float]]] = {allocator: [] for allocator in allocators}
    for allocator in allocators:
        ask(allocator, _make_steps, make, setting)
    for number in range(-1, rounds):
        for allocator in sorted(allocators, reverse=bool(number % 2)):
            measured[allocator].append(ask(allocator, _time_steps, number))
    for allocator in allocators:  # the memory is free for what is measured next
        ask(allocator, _make_steps, dict, {})
    return [{**setting, "allocator": allocator, "seconds": by_step(measured[allocator])} for allocator in allocators]


def measure_memory(memory_of: Callable[[Facts], int], setting: Facts) -> int | None:
    """Return the bytes that `memory_of` finds for a setting, on a CPU in a fresh process. None if it fails."""
    if DEVICE == "cuda":
        return memory_of(setting)
    # With large pages, because a step that takes many gigabytes would spend minutes on faults of small ones.
    with start({"THP_MEM_ALLOC_ENABLE": "1"}) as pool:
        try:
            return pool.submit(memory_of, setting).result()
        except Exception as error:  # of any kind, such as out of memory
            say(f"  {setting}: failed: {error}")
            return None


def peak_bytes(step: Step) -> int:
    """Return how far memory rises while a step runs; on a CPU (Linux) that of this process, which must be fresh."""
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    # Each tensor gets a mapping of its own (M_MMAP_THRESHOLD), which goes back to the system when it is freed.
    ctypes.CDLL(None).mallopt(-3, 1 << 16)
    Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS")
    step()
    return status_bytes("VmHWM") - before


def status_bytes(field: str, path: str = "/proc/self/status") -> int:
    """Return a field of a /proc file, which counts in kB, in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(path).read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"no {field} in {path}")
    return int(found[1]) * 1024


def free_bytes() -> int:
    """Return how much memory is free."""
    return torch.cuda.mem_get_info()[0] if DEVICE == "cuda" else status_bytes("MemAvailable", "/proc/meminfo")


def write(out: Path, name: str, text: str, facts: Facts, draw: Callable[[Facts], Any] | None = None) -> None:
    """Print a text with tables, and write OUT/NAME.md, NAME.json and, if there is a function for it, NAME.png."""
    command = " ".join(["python", *sys.argv])
    text = f"`{command}`\n\n{text}\n```\n{versions()}```\n"
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / f"{name}.md", text)
    record = {"command": command, "versions": versions().splitlines(), **facts}
    write_whole(out / f"{name}.json", json.dumps(record, indent=1) + "\n")
    if draw:
        write_picture(out / f"{name}.json", draw)
    say(f"Written: {out}/{name}.md, .json{', .png' if draw else ''}")


@quiet()
def write_picture(file: Path, draw: Callable[[Facts], Any]) -> None:
    """Write the figure that a function draws of a JSON file into a PNG beside it."""
    figure = draw(json.loads(file.read_text(encoding="utf-8")))
    with whole_file(file.with_suffix(".png")) as part:
        figure.savefig(part, format="png", dpi=100)


def main() -> None:
    """Draw the figures of JSON files again."""
    parser = cli.Parser(__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.json")
    for file in parser.parse_args().files:
        benchmark = file.stem.split("_")[0]
        if benchmark not in ("loss", "step", "throughput", "prepare") or not file.is_file():
            parser.error(f"{file}: no JSON file of a benchmark")
        write_picture(file, importlib.import_module(benchmark).draw)
        say(f"Written: {file.with_suffix('.png')}")


if __name__ == "__main__":
    main()
