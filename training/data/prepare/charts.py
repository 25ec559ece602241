"""The charts of the report, drawn from rows alone."""

from collections.abc import Callable, Sequence

import numpy as np

from report import charts as kit
from report.charts import Axes, Chart, Figure
from report.html import filesize
from training.data.manifest import Row

CLUSTERS = (kit.BLUE, "#54b6c4", kit.GREEN, kit.AMBER, "#8e6cc0", kit.GREY)
PARTS = {"train": kit.BLUE, "validation": kit.GREEN, "test": kit.PALE, "dropped": kit.RED}
MAX_POINTS = 3000  # a panel; more would only cover each other
PANELS = 4  # in a line


def charts_of(classes: dict[str, dict[str, int]], rows: Sequence[Row]) -> list[Chart]:
    """Draw the photos of `classes`, name to counts, and what their files are like."""
    own = {name: [r for r in rows if r.class_name == name and r.width] for name in classes}
    own = {name: found for name, found in own.items() if found}
    return [
        Chart("photos", "photos of each class", photos_per_class(classes)),
        Chart("file_sizes", "file size of each class", file_sizes(own)),
        Chart("sides", "height and width of each class", sides(own)),
    ]


def photos_per_class(classes: dict[str, dict[str, int]]) -> Figure:
    """Bars of the photos in each split, and dropped."""
    figure, (axes,) = kit.panels((9, 0.7 + 0.42 * len(classes)))
    parts = {part: [c[part] for c in classes.values()] for part in next(iter(classes.values()))}
    names = [kit.short(name) for name in classes]
    longest = max(sum(counts.values()) for counts in classes.values())
    bars = kit.stack_bars(axes, names, parts, [PARTS[part] for part in parts])
    for bar, (part, counts) in zip(bars, parts.items(), strict=True):
        labels = [str(n) if n > 0.03 * longest else "" for n in counts]
        colour = "black" if PARTS[part] == kit.PALE else "white"
        axes.bar_label(bar, labels, label_type="center", color=colour)
    return figure


def file_sizes(by_class: dict[str, list[Row]]) -> Figure:
    """Histograms of the file size of each class, coloured by cluster; those dropped are red."""
    sizes = [row.bytes for rows in by_class.values() for row in rows]
    edges = np.geomspace(min(sizes), max(sizes) + 1, 41).tolist()

    def panel(axes: Axes, rows: list[Row]) -> None:
        parts = _by_colour(rows, slice(0, 2))
        heights = [[row.bytes for row in part] for part in parts.values()]
        axes.hist(heights, edges, histtype="stepfilled", stacked=True, color=list(parts))

    figure = _panels(by_class, panel, "file size", "photos")
    kit.scale_log(figure.axes[0], "x", filesize, at_most=3)  # and so all others
    return figure


def sides(by_class: dict[str, list[Row]]) -> Figure:
    """Height over width of each class, coloured by cluster; those dropped are red."""

    def panel(axes: Axes, rows: list[Row]) -> None:
        for colour, part in _by_colour(rows, slice(2, 4)).items():
            some = part[:: -(-len(part) // MAX_POINTS)]
            across, up = [row.width for row in some], [row.height for row in some]
            axes.scatter(across, up, s=9, alpha=0.5, linewidths=0, color=colour, rasterized=True)

    figure = _panels(by_class, panel, "width, pixels", "height, pixels")
    kit.scale_log(figure.axes[0], "x", at_most=3)
    kit.scale_log(figure.axes[0], "y", at_most=3)
    return figure


def _by_colour(rows: Sequence[Row], part: slice) -> dict[str, list[Row]]:
    """Sort rows by colour; `part` of a cluster's name is its number by file size, or by sides."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (not row.kept, row.cluster[part])):
        name = row.cluster[part]
        colour = CLUSTERS[int(name[1:]) % len(CLUSTERS)] if name else kit.BLUE
        found.setdefault(colour if row.kept else kit.RED, []).append(row)
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
