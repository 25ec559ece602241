"""The charts of the report, drawn from rows alone."""

from collections.abc import Callable, Sequence

import numpy as np

from report.charts import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    INK,
    PALE,
    RED,
    SOFT,
    Axes,
    Chart,
    Figure,
    scale_log,
    short,
)
from report.html import filesize
from training.data.manifest import Row

CLUSTERS = (BLUE, "#54b6c4", GREEN, AMBER, "#8e6cc0", GREY)
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
    """Bars of the photos in train, in test, and dropped."""
    figure = Figure((9, 0.7 + 0.42 * len(classes)), layout="constrained")
    axes, left = figure.subplots(), np.zeros(len(classes))
    longest = max(sum(counts.values()) for counts in classes.values())
    for part, colour in (("train", BLUE), ("test", PALE), ("dropped", RED)):
        counts = np.array([c[part] for c in classes.values()])
        bars = axes.barh(range(len(classes)), counts, left=left, color=colour, label=part, height=0.68)
        labels = [str(n) if n > 0.03 * longest else "" for n in counts]
        axes.bar_label(bars, labels, label_type="center", color="black" if part == "test" else "white")
        left += counts
    axes.set_yticks(range(len(classes)), [short(name) for name in classes], color=INK)
    axes.invert_yaxis()
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderpad=0)
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
    scale_log(figure.axes[0], "x", filesize, at_most=3)  # and so all others
    return figure


def sides(by_class: dict[str, list[Row]]) -> Figure:
    """Height over width of each class, coloured by cluster; those dropped are red."""

    def panel(axes: Axes, rows: list[Row]) -> None:
        for colour, part in _by_colour(rows, slice(2, 4)).items():
            some = part[:: -(-len(part) // MAX_POINTS)]
            across, up = [row.width for row in some], [row.height for row in some]
            axes.scatter(across, up, s=9, alpha=0.5, linewidths=0, color=colour, rasterized=True)

    figure = _panels(by_class, panel, "width, pixels", "height, pixels")
    scale_log(figure.axes[0], "x", at_most=3)
    scale_log(figure.axes[0], "y", at_most=3)
    return figure


def _by_colour(rows: Sequence[Row], part: slice) -> dict[str, list[Row]]:
    """Sort rows by colour; `part` of a cluster's name is its number by file size, or by sides."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (not row.kept, row.cluster[part])):
        name = row.cluster[part]
        colour = CLUSTERS[int(name[1:]) % len(CLUSTERS)] if name else BLUE
        found.setdefault(colour if row.kept else RED, []).append(row)
    return found


def _panels(
    by_class: dict[str, list[Row]], panel: Callable[[Axes, list[Row]], None], across: str, up: str
) -> Figure:
    """One panel a class, all with the same axes."""
    lines, columns = -(-len(by_class) // PANELS), min(PANELS, len(by_class))
    figure = Figure((9, 2.3 * lines + 0.4), dpi=130, layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (name, rows) in zip(grid.flat, by_class.items(), strict=False):
        panel(axes, rows)
        axes.set_title(short(name), pad=4)
    for axes in grid.flat[len(by_class) :]:
        axes.set_visible(False)
    figure.supxlabel(across, fontsize=9, color=SOFT)
    figure.supylabel(up, fontsize=9, color=SOFT)
    return figure
