"""Tables and bars of times, each as a multiple of a peer's in the same round.

Times are a list of entries, as measure.measure_times returns them, one for each setting and way to allocate memory.
"""

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from measure import Facts
from recipes.table import markdown_table

Label = Callable[[Facts], str]  # what an entry is called


def ratio(entry: Facts, name: str, peer: str) -> float | None:
    """Return the median over the rounds of the time of a step over its peer's; None if one of them was not timed."""
    seconds = entry["seconds"]
    if name not in seconds or peer not in seconds:
        return None
    return median(own / other for own, other in zip(seconds[name], seconds[peer], strict=True))


def by_allocator(times: list[Facts]) -> dict[str, list[Facts]]:
    """Return the entries of each way to allocate memory."""
    allocators = dict.fromkeys(entry["allocator"] for entry in times)
    return {name: [entry for entry in times if entry["allocator"] == name] for name in allocators}


def times_tables(
    times: list[Facts],
    names: Sequence[str],
    label: Label,
    unit: tuple[str, float, int],
    missing: str,
    last: tuple[str, str, str],
) -> str:
    """Return a table for each way to allocate memory, with a row for each step and a column for each setting.

    Args:
        names: the steps; times stand also as multiples of the first one's.
        unit: the heading of the names, the factor by which seconds are multiplied, and the number of decimals.
        missing: what stands for a step that was not timed.
        last: the heading of the last row, and the two steps whose ratio it gives; it is left out without the second.
    """
    heading, factor, digits = unit

    def cell(entry: Facts, name: str) -> str:
        multiple = ratio(entry, name, names[0])
        if multiple is None:
            return missing
        own = [factor * second for second in entry["seconds"][name]]
        middle, low, high = (f"{value:,.{digits}f}" for value in (median(own), min(own), max(own)))
        return f"{middle} ({low} to {high}); {multiple:.2f}"

    parts = []
    for allocator, entries in by_allocator(times).items():
        rows = [[heading, *map(label, entries)]]
        rows += [[name, *(cell(entry, name) for entry in entries)] for name in names]
        if last[2] in names:
            found = [ratio(entry, *last[1:]) for entry in entries]
            rows.append([last[0], *("" if value is None else f"{value:.2f}" for value in found)])
        parts.append(f"**{allocator}**\n\n{markdown_table(rows)}")
    return "\n".join(parts)


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of matplotlib, which is imported here so that processes that only measure do without."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def bars(axes: Any, groups: dict[str, list[float]], labels: list[str], fmt: str) -> None:
    """Draw horizontal bars, side by side for each label.

    Args:
        groups: the lengths of the bars, one for each label, by what the legend calls them. There is no bar for NaN.
        fmt: the format of the number at a bar.
    """
    width = 0.85 / len(groups)
    for number, (name, lengths) in enumerate(groups.items()):
        drawn = axes.barh([place + (number + 0.5) * width for place in range(len(labels))], lengths, width, label=name)
        axes.bar_label(drawn, fmt=fmt, padding=3, fontsize=8, bbox={"color": "white", "pad": 0.5})
    axes.set_yticks([place + 0.425 for place in range(len(labels))], labels)
    axes.margins(x=0.12)


def draw_ratios(rows: Sequence[tuple[str, list[Facts], str, Label]]) -> Any:
    """Return a figure of ratios: a row of panels for each (title, times, peer, label), a panel for each allocator.

    Each entry of the times is a group of bars, named by the label in two lines, with a bar for each of its steps but
    the peer, whose time is 1.
    """
    heights = [sum(len(entry["seconds"]) for entry in times) / len(by_allocator(times)) for _, times, _, _ in rows]
    figure = new_figure(12, 1.5 * len(rows) + 0.24 * sum(heights))
    parts = figure.subfigures(len(rows), 1, height_ratios=[height + 6 for height in heights], squeeze=False)
    for part, (title, times, peer, label) in zip(parts[:, 0], rows, strict=True):
        names = [name for name in dict.fromkeys(name for entry in times for name in entry["seconds"]) if name != peer]
        panels = part.subplots(1, len(by_allocator(times)), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (allocator, entries) in zip(panels, by_allocator(times).items(), strict=True):
            found = {name: [ratio(entry, name, peer) or math.nan for entry in entries] for name in names}
            bars(axes, found, [label(entry).replace(", ", "\n", 1) for entry in entries], "%.2f")
            axes.axvline(1, color="black", linewidth=1, zorder=0.5)
            axes.set_title(allocator, fontsize=10)
        panels[0].invert_yaxis()
        part.suptitle(f"{title}: time / {peer}", fontsize=11)
        handles = panels[0].get_legend_handles_labels()
        part.legend(*handles, loc="outside lower center", ncols=min(len(names), 3), fontsize=9)
    return figure


def draw_bars(groups: dict[str, list[float]], labels: list[str], axis: str, fmt: str, height: float) -> Any:
    """Return a figure with the bars of some groups; `axis` names what they show. One group has no legend."""
    figure = new_figure(9, height)
    axes = figure.subplots()
    bars(axes, groups, labels, fmt)
    axes.invert_yaxis()
    axes.set_xlabel(axis)
    if len(groups) > 1:
        figure.legend(loc="outside lower center", ncols=len(groups))
    return figure
