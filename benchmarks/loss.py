"""Measure time and memory of the head (projection, loss and divergence, forward and backward) and of its peers.

python benchmarks/loss.py [--head linear|adaptive] [--out DIR] [--quick | --all] [--rounds N]

It prints tables of times, each also as a multiple of the bare matrix products in the same round, on a CPU for both ways
to allocate memory (measure.py), and a table of peak memory beyond inputs and gradients. The same tables follow for the
head with adaptive softmax of WikiText-103 (heads.py), whose exact divergence is measured with --head adaptive
alone, because it takes as long as all the rest. If there is a GPU, all runs there, with more sizes. It takes twenty
minutes on two cores; --quick is for trying, and --all measures every size of the GPU's grid on a CPU too.
"""

from argparse import Namespace
from typing import Any

import heads
from heads import BARE, EXACT, FUSED, PUBLISHED
from measure import DEVICE, Facts, Step, arguments, free_bytes, measure_memory, measure_times, peak_bytes, say, write
from ratios import draw_ratios, times_tables
from recipes.table import markdown_table

# The tokens that are measured on a GPU, by type.
TOKENS = {"bfloat16": (4096, 16_384), "float16": (4096, 16_384), "float32": (4096,)}
VOCABS = (10_000, 32_768, 44_000)
ON_CPU = [("float32", 10_000, 1024), ("float32", 10_000, 2048), ("float32", 32_768, 1024), ("float32", 44_000, 512),
          ("bfloat16", 10_000, 1024)]  # fmt: skip
GROWTH = (4096, 16_384)  # the tokens at which the memory of the fused loss is measured too
WIDTH = 512
Measured = tuple[str, Facts]  # the text with the tables, and what goes into the JSON file


def steps_of(setting: Facts) -> dict[str, Step]:
    """Return the bare products and the losses that the setting names."""
    return heads.steps(setting, [BARE, *setting["losses"]])[0]


def memory_of(setting: Facts) -> int:
    """Return the peak bytes of one step beyond its inputs and gradients."""
    loss = setting["loss"]
    small = heads.QUICK if "cutoffs" in setting else {"vocab": 64}
    heads.steps({**setting, **small, "tokens": 8}, [loss])[0][loss]()  # so that no library is loaded later
    steps, inputs = heads.steps(setting, [loss])
    return peak_bytes(steps[loss]) - sum(tensor.nbytes for tensor in inputs)


def label(size: Facts) -> str:
    """Return the name of a size."""
    return f"{size['dtype']}, V = {size['vocab']:,}, {size['tokens']:,} tokens"


def memory_table(memory: list[Facts], names: list[str]) -> str:
    """Return a table with a row for each loss and a column for each size."""
    sizes = list(dict.fromkeys(map(label, memory)))
    found = {(entry["loss"], label(entry)): entry["bytes"] for entry in memory}
    cells = {name: [found.get((name, size)) for size in sizes] for name in names}
    rows = [[name, *("not run" if peak is None else f"{peak / 1e6:,.0f}" for peak in cells[name])] for name in names]
    return markdown_table([["peak MB beyond inputs and gradients", *sizes], *rows])


def draw(facts: Facts) -> Any:
    """Return the figure of a result."""
    parts = {"head": facts.get("times"), "head with adaptive softmax": facts.get("adaptive", {}).get("times")}
    return draw_ratios([(title, times, BARE, label) for title, times in parts.items() if times])


def fits(tokens: int, vocab: int) -> bool:
    """Return whether memory holds what the published formula keeps of two passes: about eight tensors of logits."""
    return 2 * tokens * vocab * 4 * 8 <= free_bytes()


def measure(args: Namespace, title: str, sizes: list[Facts], memory_sizes: list[tuple[Facts, list[str]]]) -> Measured:
    """Measure times at some sizes, and memory at others, of which each names its losses. Return tables and facts."""
    times: list[Facts] = []
    memory: list[Facts] = []
    for number, size in enumerate(sizes, 1):
        say(f"[{number}/{len(sizes)}] {label(size)}")
        times += measure_times(steps_of, size, args.rounds)
    for size, losses in memory_sizes:
        say(f"memory at {label(size)}")
        memory += [
            {**size, "loss": loss, "bytes": measure_memory(memory_of, {**size, "loss": loss})} for loss in losses
        ]
    names = list(dict.fromkeys(name for size in sizes for name in size["losses"]))
    unit, last = ("milliseconds, median (spread); x bare", 1000, 1), ("fused / published formula", FUSED, PUBLISHED)
    table = times_tables(times, [BARE, *names], label, unit, "does not fit", last)
    return f"{title}\n\n{table}\n{memory_table(memory, names)}", {"times": times, "memory": memory}


def measure_linear(args: Namespace) -> Measured:
    """Measure the head with one output projection."""
    names = heads.LINEAR
    every = [(dtype, words, length) for dtype in TOKENS for words in VOCABS for length in TOKENS[dtype]]
    grid = [setting for setting in every if fits(setting[2], setting[1])]
    dtypes, vocab, tokens = [*TOKENS], 32_768, 8192
    if args.quick:
        grid, dtypes, vocab, tokens = [("float32", 1000, 128), ("bfloat16", 1000, 128)], ["float32"], 2000, 1024
    elif DEVICE == "cpu" and not args.all:
        grid, dtypes = ON_CPU, ["float32"]
    else:
        say(f"{len(every) - len(grid)} of {len(every)} sizes are left out: they do not fit into memory")
    while not fits(tokens, vocab):
        tokens //= 2

    def size(dtype: str, vocab: int, tokens: int) -> Facts:
        return {"dtype": dtype, "vocab": vocab, "tokens": tokens, "width": WIDTH}

    times = [{**size(*each), "losses": names if fits(each[2], each[1]) else [FUSED]} for each in grid]
    memory = []
    for dtype in dtypes:
        memory.append((size(dtype, vocab, tokens), [FUSED] if args.quick else names))
        memory += [(size(dtype, vocab, more), [FUSED]) for more in (() if args.quick else GROWTH)]
    return measure(args, f"Head, forward and backward, width {WIDTH}, two passes.", times, memory)


def measure_adaptive(args: Namespace) -> Measured:
    """Measure the head with adaptive softmax."""
    names = [name for name in heads.ADAPTIVE if name != EXACT or args.head]
    few = DEVICE == "cpu" and not args.all
    whole = heads.QUICK if args.quick else heads.SIZE
    tokens = (64,) if args.quick else (1024,) if few else (1024, 3072)
    dtypes = ("float32",) if few else ("bfloat16", "float32")
    sizes: list[Facts] = [{**whole, "tokens": number, "dtype": dtype} for dtype in dtypes for number in tokens]
    title = (
        f"Head with adaptive softmax, cutoffs {', '.join(f'{cutoff:,}' for cutoff in sizes[0]['cutoffs'])}, "
        f"width {sizes[0]['width']:,}, tail factor {heads.FACTOR}, two passes."
    )
    memory = [] if args.quick else [(sizes[-1], names)]
    return measure(args, title, [{**size, "losses": names} for size in sizes], memory)


def main() -> None:
    """Measure, and write the tables."""
    parser = arguments(__doc__, rounds=4)
    parser.add_argument("--head", choices=("linear", "adaptive"), help="measure this one alone")
    parser.add_argument("--all", action="store_true", help="measure every size that fits, on a CPU too: hours")
    args = parser.parse_args()
    parts: list[str] = []
    facts: Facts = {}
    if args.head != "adaptive":
        text, facts = measure_linear(args)
        parts.append(text)
    if args.head != "linear":
        text, facts["adaptive"] = measure_adaptive(args)
        parts.append(text)
    write(args.out, "_".join(["loss", DEVICE, *([args.head] if args.head else [])]), "\n".join(parts), facts, draw)


if __name__ == "__main__":
    main()
