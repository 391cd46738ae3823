"""Time and memory of the head (output projection, loss and divergence, forward and backward) against its peers.

python benchmarks/loss.py [--head linear|adaptive] [--out DIR] [--quick | --all] [--rounds N] [--width D] [--cpu]

Prints tables of times, each also as a multiple of the bare matrix products in the same round, on a CPU for both ways to
allocate memory (measure.py), and one of peak memory beyond inputs and gradients; the same for the head with adaptive
softmax of WikiText-103 (adaptive_head.py; the exact divergence, which takes as long as all the rest, with
--head adaptive alone). With a GPU it runs there, with more sizes. Twenty minutes on two cores; --quick is for trying,
--all for every size of the GPU's grid.
"""

import functools
from argparse import Namespace
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from adaptive_head import CRITERIONS as ADAPTIVE
from adaptive_head import EXACT, FACTOR, adaptive_step, bare_products, model_and_sample, size_of
from linear_head import BARE, FUSED, LOSSES, PUBLISHED, bare_step, step_of, tensors
from measure import (
    Workers,
    arguments,
    free_bytes,
    in_a_fresh_process,
    peak_bytes,
    positive,
    say,
    tables,
    work,
    write,
)
from pictures import draw_ratios, ratio
from recipes.table import markdown_table


def memory_of(setting: dict[str, Any]) -> int:
    """Peak bytes of one step beyond its inputs and gradients."""
    device = setting["device"]
    if setting.get("adaptive"):
        adaptive_step(setting["loss"], *model_and_sample({**setting, **size_of(8, setting["dtype"], True)}, device))()
        model, sample = model_and_sample(setting, device)
        peak = peak_bytes(adaptive_step(setting["loss"], model, sample), device)
        return peak - sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    loss = LOSSES[setting["loss"]]
    small = tensors({**setting, "tokens": 8, "vocab": 64}, device)
    step_of(loss, *small)()  # so that no library is loaded later
    hidden, weight, target = tensors(setting, device)
    peak = peak_bytes(step_of(loss, hidden, weight, target), device)
    return peak - sum(tensor.numel() * tensor.element_size() for tensor in (hidden, weight))


def steps_of(setting: dict[str, Any], device: str) -> dict[str, Callable[[], None]]:
    """The bare products and the losses that the setting names."""
    if setting.get("adaptive"):
        model, sample = model_and_sample(setting, device)
        return {BARE: bare_products(model, sample)} | {n: adaptive_step(n, model, sample) for n in setting["losses"]}
    made = tensors(setting, device)
    return {BARE: bare_step(*made)} | {name: step_of(LOSSES[name], *made) for name in setting["losses"]}


def measure_times(size: dict[str, Any], losses: list[str], rounds: int, workers: Workers) -> list[dict[str, Any]]:
    measured = workers.seconds({**size, "losses": losses}, rounds)
    return [{**size, "allocator": name, "seconds": spent} for name, spent in measured.items()]


def measure_memory(size: dict[str, Any], device: str, names: list[str]) -> list[dict[str, Any]]:
    found = []
    for name in names:
        setting = {**size, "device": device, "loss": name}
        say(f"  memory of {name}")
        peak = memory_of(setting) if device == "cuda" else in_a_fresh_process(__file__, setting)
        found.append({**size, "loss": name, "bytes": peak})
    return found


def label(size: dict[str, Any]) -> str:
    return f"{size['dtype']}, V = {size['vocab']:,}, {size['tokens']:,} tokens"


def times_table(times: list[dict[str, Any]], names: list[str]) -> str:
    rows = [["milliseconds, median (spread); x bare", *map(label, times)]]
    for name in (BARE, *names):
        row = [name]
        for entry in times:
            measured = entry["seconds"]
            if name not in measured:
                row.append("does not fit")
                continue
            own = sorted(1000 * second for second in measured[name])
            row.append(f"{median(own):,.1f} ({own[0]:,.1f} to {own[-1]:,.1f}); {ratio(measured, name, BARE):.2f}")
        rows.append(row)
    if PUBLISHED in names:
        share = [f"{ratio(m, FUSED, PUBLISHED):.2f}" if PUBLISHED in (m := each["seconds"]) else "" for each in times]
        rows.append(["fused / published formula", *share])
    return markdown_table(rows)


def memory_table(memory: list[dict[str, Any]], names: list[str]) -> str:
    sizes = list(dict.fromkeys(label(entry) for entry in memory))
    found = {(entry["loss"], label(entry)): entry["bytes"] for entry in memory}
    rows = [["peak MB beyond inputs and gradients", *sizes]]
    for name in names:
        cells = [found.get((name, size)) for size in sizes]
        rows.append([name, *("not run" if peak is None else f"{peak / 1e6:,.0f}" for peak in cells)])
    return markdown_table(rows)


def draw(facts: dict[str, Any], pyplot: Any) -> Any:
    def lines(size: dict[str, Any]) -> str:
        return label(size).replace(", ", "\n", 1)

    heads = {"head": facts.get("times"), "head with adaptive softmax": facts.get("adaptive", {}).get("times")}
    return draw_ratios([(title, times, BARE, lines) for title, times in heads.items() if times], pyplot)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--head", choices=("linear", "adaptive"), help="measure this one alone")
    parser.add_argument("--all", action="store_true", help="on a CPU too every size that fits into memory: hours")
    parser.add_argument("--width", type=positive, default=512, help="width of the hidden states (default: 512)")
    args = parser.parse_args()
    if args.memory_of:
        print(memory_of(args.memory_of))
        return
    device = "cuda" if torch.cuda.is_available() and not args.cpu else "cpu"
    if args.worker:
        work(lambda setting: steps_of(setting, device), device)
        return
    parts = []
    facts: dict[str, Any] = {}
    with Workers(__file__, device) as workers:
        for head, names, measure in (
            ("linear", [*LOSSES], measure_linear),
            ("adaptive", [*ADAPTIVE], measure_adaptive),
        ):
            if args.head not in (None, head):
                continue
            if head == "adaptive" and args.head is None:  # it takes as long as all others together
                names = [name for name in names if name != EXACT]
            times, memory, title = measure(args, device, names, workers)
            table = tables(times, functools.partial(times_table, names=names))
            parts.append(f"{title}\n\n{table}\n{memory_table(memory, names)}")
            found = {"times": times, "memory": memory}
            facts |= found if head == "linear" else {head: found}
    write(args.out, "_".join(["loss", device, *([args.head] if args.head else [])]), "\n".join(parts), facts, draw)


def fits(tokens: int, vocab: int, device: str) -> bool:
    """Whether memory holds what the published formula keeps of two passes: about eight tensors of logits."""
    return 2 * tokens * vocab * 4 * 8 <= free_bytes(device)


Measured = tuple[list[dict[str, Any]], list[dict[str, Any]], str]  # times, memory, and of what


# The tokens that are measured on a GPU, by type.
TOKENS = {"bfloat16": (4096, 16_384), "float16": (4096, 16_384), "float32": (4096,)}


def measure_linear(args: Namespace, device: str, names: list[str], workers: Workers) -> Measured:
    measured = names  # the losses whose memory is
    growth: tuple[int, ...] = ()  # the tokens of more memory measurements of the fused loss
    if args.quick:
        grid = [("float32", 1000, 128), ("bfloat16", 1000, 128)]
        memory_sizes, measured = [("float32", 2000, 1024)], [FUSED]
    elif device == "cuda" or args.all:
        whole = [(dtype, vocab, tokens) for dtype, sizes in TOKENS.items() for vocab in (10_000, 32_768, 44_000)
                 for tokens in sizes]  # fmt: skip
        grid = [setting for setting in whole if fits(setting[2], setting[1], device)]
        say(f"{len(whole) - len(grid)} of {len(whole)} sizes are left out: they do not fit into memory")
        memory_sizes, growth = [(dtype, 32_768, 8192) for dtype in TOKENS], (4096, 16_384)
    else:
        grid = [("float32", 10_000, 1024), ("float32", 10_000, 2048), ("float32", 32_768, 1024),
                ("float32", 44_000, 512), ("bfloat16", 10_000, 1024)]  # fmt: skip
        memory_sizes, growth = [("float32", 32_768, 8192)], (4096, 16_384)

    def size(dtype: str, vocab: int, tokens: int) -> dict[str, Any]:
        return {"dtype": dtype, "vocab": vocab, "tokens": tokens, "width": args.width}

    times: list[dict[str, Any]] = []
    memory: list[dict[str, Any]] = []
    for number, (dtype, vocab, tokens) in enumerate(grid, 1):
        say(f"[{number}/{len(grid)}] {label(size(dtype, vocab, tokens))}")
        losses = names if fits(tokens, vocab, device) else [FUSED]
        times += measure_times(size(dtype, vocab, tokens), losses, args.rounds, workers)
    for dtype, vocab, tokens in memory_sizes:
        while not fits(tokens, vocab, device):
            tokens //= 2
        say(f"memory at {label(size(dtype, vocab, tokens))}")
        memory += measure_memory(size(dtype, vocab, tokens), device, measured)
        for more in growth:
            memory += measure_memory(size(dtype, vocab, more), device, [FUSED])
    return times, memory, f"Head, forward and backward, width {args.width}, two passes."


def measure_adaptive(args: Namespace, device: str, names: list[str], workers: Workers) -> Measured:
    few = device == "cpu" and not args.all
    dtypes = ("float32",) if few else ("bfloat16", "float32")
    tokens = (64,) if args.quick else (1024,) if few else (1024, 3072)
    sizes = [size_of(number, dtype, args.quick) for dtype in dtypes for number in tokens]
    times: list[dict[str, Any]] = []
    for number, size in enumerate(sizes, 1):
        say(f"[{number}/{len(sizes)}] adaptive softmax, {label(size)}")
        times += measure_times(size, names, args.rounds, workers)
    memory = [] if args.quick else measure_memory(sizes[-1], device, names)
    cutoffs = ", ".join(f"{cutoff:,}" for cutoff in sizes[0]["cutoffs"])
    width = f"width {sizes[0]['width']:,}, tail factor {FACTOR}"
    return times, memory, f"Head with adaptive softmax, cutoffs {cutoffs}, {width}, two passes."


if __name__ == "__main__":
    main()
