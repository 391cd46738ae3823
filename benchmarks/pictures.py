"""Draw the figures of the benchmarks."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

Draw = Callable[[dict[str, Any], Any], Any]  # what a JSON file holds, matplotlib's pyplot -> a figure


def ratio(measured: Mapping[str, list[float]], name: str, peer: str) -> float:
    """Median over the rounds of the time of ``name`` over that of ``peer`` in the same round."""
    return median(own / other for own, other in zip(measured[name], measured[peer], strict=True))


def write_picture(facts: Path, draw: Draw) -> Path:
    """Draw what a JSON file of a benchmark holds into a PNG beside it, whose path is returned."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    picture = facts.with_suffix(".png")
    figure = draw(json.loads(facts.read_text(encoding="utf-8")), pyplot)
    figure.savefig(picture, dpi=100)
    pyplot.close(figure)
    return picture


def draw_ratios(
    rows: Sequence[tuple[str, list[dict[str, Any]], str, Callable[[dict[str, Any]], str]]], pyplot: Any
) -> Any:
    """Bars of time ratios: a row of panels for each of (title, times, peer, label), in it a panel for each allocator.

    Each entry of the times is a group of bars, named by the label, with a bar for each of its steps but the peer whose
    time is 1.
    """
    heights = [
        sum(len(entry["seconds"]) for entry in times) / len({entry["allocator"] for entry in times})
        for _, times, _, _ in rows
    ]
    figure = pyplot.figure(figsize=(12, 1.5 * len(rows) + 0.24 * sum(heights)), layout="constrained")
    parts = figure.subfigures(len(rows), 1, height_ratios=[height + 6 for height in heights], squeeze=False)
    for part, (title, times, peer, label) in zip(parts[:, 0], rows, strict=True):
        allocators = list(dict.fromkeys(entry["allocator"] for entry in times))
        names = [name for name in dict.fromkeys(name for entry in times for name in entry["seconds"]) if name != peer]
        panels = part.subplots(1, len(allocators), sharex=True, sharey=True, squeeze=False)[0]
        for axes, allocator in zip(panels, allocators, strict=True):
            entries = [entry for entry in times if entry["allocator"] == allocator]
            width = 0.85 / len(names)
            for i, name in enumerate(names):
                have = [
                    (y, ratio(each["seconds"], name, peer)) for y, each in enumerate(entries) if name in each["seconds"]
                ]
                bars = axes.barh([y + (i + 0.5) * width for y, _ in have], [x for _, x in have], width, label=name)
                axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8, bbox={"color": "white", "pad": 0.5})
            axes.axvline(1, color="black", linewidth=1, zorder=0.5)
            axes.set_yticks([y + 0.425 for y in range(len(entries))], [label(entry) for entry in entries])
            axes.set_title(allocator, fontsize=10)
            axes.margins(x=0.12)
        panels[0].invert_yaxis()
        part.suptitle(f"{title}: time / {peer}", fontsize=11)
        part.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(names), 3), fontsize=9
        )
    return figure
