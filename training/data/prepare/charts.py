"""The charts of the report, drawn from rows alone."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from report import charts as kit
from report.charts import Axes, Chart, Figure
from report.html import filesize
from training.data.manifest import Reason, Row

CLUSTERS = (kit.BLUE, "#54b6c4", kit.GREEN, kit.AMBER, "#8e6cc0", kit.GREY)
PARTS = {
    **{"train": kit.BLUE, "validation": kit.GREEN, "test": kit.PALE, "dropped": kit.RED},
    **{"kept": kit.BLUE, "tall": kit.GREEN, "square": kit.BLUE, "wide": kit.PALE},
}
MAX_POINTS = 3000  # a panel; more would only cover each other
PANELS = 4  # in a line
EXTENSIONS = 12  # with a bar of their own
SQUARE = 1.1  # longer side over the shorter, up to which a photo is called square


def charts_of(
    classes: dict[str, dict[str, int]], rows: Sequence[Row], elbows: Sequence[Mapping[str, Any]]
) -> list[Chart]:
    """Draw the photos of `classes`, name to counts, and what their files are like."""
    own = {name: [r for r in rows if r.class_name == name and r.width] for name in classes}
    own = {name: found for name, found in own.items() if found}
    charts = [
        Chart("photos", "photos of each class", photos_per_class(classes)),
        Chart("extensions", "files by extension", extensions(rows)),
        Chart("shapes", "square and oblong photos of each class", shapes(own)),
        Chart("file_sizes", "file size of each class", file_sizes(own)),
        Chart("sides", "height and width of each class", sides(own)),
    ]
    if drawn := [elbow for elbow in elbows if elbow["class_name"] in own]:
        charts.append(Chart("elbows", "variance left by number of clusters", elbow_curves(drawn)))
    return charts


def photos_per_class(classes: dict[str, dict[str, int]]) -> Figure:
    """Bars of the photos in each split, and dropped."""
    parts = {part: [c[part] for c in classes.values()] for part in next(iter(classes.values()))}
    return _bars([kit.short(name) for name in classes], parts)


def extensions(rows: Sequence[Row]) -> Figure:
    """Bars of the files kept and dropped with each extension; hidden files aside."""
    own = [row for row in rows if row.reason is not Reason.HIDDEN]
    counts = Counter((PurePath(row.name).suffix.lower() or "none", row.kept) for row in own)
    names = [name for name, _ in Counter(name for name, _ in counts.elements()).most_common()]
    kept, dropped = ([counts[name, part] for name in names] for part in (True, False))
    if len(names) > EXTENSIONS:
        rest = EXTENSIONS - 1
        names = [*names[:rest], f"{len(names) - rest} others"]
        kept, dropped = ([*part[:rest], sum(part[rest:])] for part in (kept, dropped))
    titles = [f"{kit.short(n)} ({a + b})" for n, a, b in zip(names, kept, dropped, strict=True)]
    return _bars(titles, {"kept": kept, "dropped": dropped})


def shapes(by_class: dict[str, list[Row]]) -> Figure:
    """Bars of the readable photos of each class that are tall, square and wide."""
    parts: dict[str, list[int]] = {"tall": [], "square": [], "wide": []}
    for rows in by_class.values():
        ratios = [row.width / row.height for row in rows]
        parts["tall"].append(sum(ratio < 1 / SQUARE for ratio in ratios))
        parts["wide"].append(sum(ratio > SQUARE for ratio in ratios))
        parts["square"].append(len(rows) - parts["tall"][-1] - parts["wide"][-1])
    return _bars([kit.short(name) for name in by_class], parts)


def _bars(names: Sequence[str], parts: Mapping[str, Sequence[int]]) -> Figure:
    """Bars with their numbers, where there is room."""
    figure, (axes,) = kit.panels((9, 0.7 + 0.42 * len(names)))
    longest = max((sum(column) for column in zip(*parts.values(), strict=True)), default=0)
    bars = kit.stack_bars(axes, names, parts, [PARTS[part] for part in parts])
    for bar, (part, counts) in zip(bars, parts.items(), strict=True):
        labels = [str(n) if n > 0.03 * longest else "" for n in counts]
        colour = "black" if PARTS[part] == kit.PALE else "white"
        axes.bar_label(bar, labels, label_type="center", color=colour)
    return figure


def elbow_curves(elbows: Sequence[Mapping[str, Any]]) -> Figure:
    """The variance left within 1, 2, ... clusters of each class; the number taken is marked."""
    names = list(dict.fromkeys(elbow["class_name"] for elbow in elbows))
    lines, columns = -(-len(names) // PANELS), min(PANELS, len(names))
    figure, grid = kit.panels(
        (9, 2.0 * lines + 0.4), lines, columns, len(names), sharex=True, sharey=True
    )
    for axes, name in zip(grid, names, strict=True):
        for elbow in (elbow for elbow in elbows if elbow["class_name"] == name):
            colour = kit.BLUE if elbow["kind"] == "bytes" else kit.GREEN
            axes.plot(range(1, len(elbow["left"]) + 1), elbow["left"], "o-", color=colour, ms=3)
            at = elbow["chosen"], elbow["left"][elbow["chosen"] - 1]
            axes.plot(*at, "o", color=colour, ms=8, mec=kit.PAPER, mew=1.2)
        axes.set_title(kit.short(name), pad=4)
        axes.set_ylim(0, 1.05)
        axes.grid(axis="y")
        kit.percent_ticks(axes.yaxis)
        kit.whole_ticks(axes.xaxis, 10)
    figure.supxlabel("clusters", fontsize=9, color=kit.SOFT)
    figure.supylabel("variance left", fontsize=9, color=kit.SOFT)
    return figure


def file_sizes(by_class: dict[str, list[Row]]) -> Figure:
    """Histograms of the file size of each class, coloured by cluster; those dropped are red."""
    sizes = [row.bytes for rows in by_class.values() for row in rows]
    edges = np.geomspace(min(sizes), max(sizes) + 1, 41).tolist()

    def panel(axes: Axes, rows: list[Row]) -> None:
        parts = _by_colour(rows, 0)
        heights = [[row.bytes for row in part] for part in parts.values()]
        axes.hist(heights, edges, histtype="stepfilled", stacked=True, color=list(parts))

    figure = _panels(by_class, panel, "file size", "photos")
    kit.scale_log(figure.axes[0], "x", filesize, at_most=3)  # and so all others
    return figure


def sides(by_class: dict[str, list[Row]]) -> Figure:
    """Height over width of each class, coloured by cluster; those dropped are red."""

    def panel(axes: Axes, rows: list[Row]) -> None:
        for colour, part in _by_colour(rows, 1).items():
            some = part[:: -(-len(part) // MAX_POINTS)]
            across, up = [row.width for row in some], [row.height for row in some]
            axes.scatter(across, up, s=9, alpha=0.5, linewidths=0, color=colour, rasterized=True)

    figure = _panels(by_class, panel, "width, pixels", "height, pixels")
    kit.scale_log(figure.axes[0], "x", at_most=3)
    kit.scale_log(figure.axes[0], "y", at_most=3)
    return figure


def _by_colour(rows: Sequence[Row], part: int) -> dict[str, list[Row]]:
    """Sort rows by colour; part 0 of a cluster's name is its number by file size, part 1 by sides."""

    def number(row: Row) -> int:
        return int(row.cluster[1:].split("s")[part]) if row.cluster else -1

    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (not row.kept, number(row))):
        colour = CLUSTERS[max(0, number(row)) % len(CLUSTERS)] if row.kept else kit.RED
        found.setdefault(colour, []).append(row)
    return found


def _panels(
    by_class: dict[str, list[Row]], panel: Callable[[Axes, list[Row]], None], across: str, up: str
) -> Figure:
    """One panel a class, all with the same axes."""
    lines, columns = -(-len(by_class) // PANELS), min(PANELS, len(by_class))
    size, shared = (9, 2.3 * lines + 0.4), {"sharex": True, "sharey": True}
    figure, grid = kit.panels(size, lines, columns, len(by_class), **shared)
    for axes, (name, rows) in zip(grid, by_class.items(), strict=True):
        panel(axes, rows)
        axes.set_title(kit.short(name), pad=4)
    figure.supxlabel(across, fontsize=9, color=kit.SOFT)
    figure.supylabel(up, fontsize=9, color=kit.SOFT)
    return figure
