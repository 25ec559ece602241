"""The pictures of the report that are drawn from rows alone, as SVG."""

import base64
import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from training.data.manifest import Row

TRAIN, TEST, DROPPED, INK = "#2b6cb0", "#90bfe8", "#d6603c", "#22303c"
CLUSTERS = ("#1b4f72", "#2e86ab", "#5fb49c", "#e0b13c", "#8e6cc0", "#7a8b99")
MAX_POINTS = 3000  # a panel; more would only cover each other
PANELS = 4  # in a line
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#b7c2cc",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": "#5b6b79",
    "ytick.color": "#5b6b79",
    "svg.hashsalt": "flyobj",  # the same picture gives the same bytes
    "svg.fonttype": "none",  # text as text: small, quick, and in whatever script a name is
}
WIDTH = 9.0  # of a figure, inches
LETTER = 0.078  # width of one, inches, on average


def photos_per_class(classes: dict[str, dict[str, int]]) -> str:
    """Bars of the photos in train, in test, and dropped."""
    with mpl.rc_context(STYLE):
        names, left = [_short(name) for name in classes], np.zeros(len(classes))
        figure = Figure((WIDTH, 0.7 + 0.42 * len(classes)))
        axes = figure.subplots()
        _margins(figure, left=0.2 + LETTER * max(map(len, names)), bottom=0.3, top=0.35)
        for part, colour in (("train", TRAIN), ("test", TEST), ("dropped", DROPPED)):
            counts = np.array([c[part] for c in classes.values()])
            bars = axes.barh(range(len(names)), counts, left=left, color=colour, label=part, height=0.68)
            labels = [str(n) if n > 0.03 * _longest(classes) else "" for n in counts]
            axes.bar_label(bars, labels, label_type="center", color=INK if part == "test" else "white")
            left += counts
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderpad=0)
        return _svg(figure)


def file_sizes(rows: Sequence[Row], classes: Sequence[str]) -> str:
    """Histograms of the file size of each class, coloured by cluster; those dropped are red."""
    sizes = [row.bytes for row in rows if row.width]
    edges = np.geomspace(min(sizes), max(sizes) + 1, 41).tolist()

    def panel(axes: Axes, own: list[Row]) -> None:
        parts = _by_colour(own, slice(0, 2))
        heights = [[row.bytes for row in part] for part in parts.values()]
        axes.hist(heights, edges, histtype="stepfilled", stacked=True, color=list(parts))

    return _panels(rows, classes, panel, ("file size", _as_bytes), ("photos", None))


def sides(rows: Sequence[Row], classes: Sequence[str]) -> str:
    """Height over width of each class, coloured by cluster; those dropped are red."""

    def panel(axes: Axes, own: list[Row]) -> None:
        for colour, part in _by_colour(own, slice(2, 4)).items():
            some = thinned(part)
            across, up = [row.width for row in some], [row.height for row in some]
            axes.scatter(across, up, s=9, alpha=0.5, linewidths=0, color=colour, rasterized=True)

    return _panels(rows, classes, panel, ("width, pixels", _as_number), ("height, pixels", _as_number))


def _by_colour(rows: Sequence[Row], part: slice) -> dict[str, list[Row]]:
    """Sort rows by colour; `part` of a cluster's name is its number by file size, or by sides."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (not row.kept, row.cluster[part])):
        name = row.cluster[part]
        colour = CLUSTERS[int(name[1:]) % len(CLUSTERS)] if name else TRAIN
        found.setdefault(colour if row.kept else DROPPED, []).append(row)
    return found


def thinned(rows: list[Row]) -> list[Row]:
    """Take evenly spread rows if there are more than `MAX_POINTS`."""
    return rows[:: max(1, -(-len(rows) // MAX_POINTS))]


def _panels(
    rows: Sequence[Row],
    classes: Sequence[str],
    panel: Callable[[Axes, list[Row]], None],
    *labels: tuple[str, Callable[[float, int], str] | None],
) -> str:
    """One panel a class, all with the same axes; an axis whose label has a form is logarithmic."""
    by_class = {name: [r for r in rows if r.class_name == name and r.width] for name in classes}
    shown = {name: own for name, own in by_class.items() if own}
    lines = -(-len(shown) // PANELS)
    columns = min(PANELS, len(shown))
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 2.3 * lines + 0.4), dpi=130)
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (name, own) in zip(grid.flat, shown.items(), strict=False):
            panel(axes, own)
            axes.set_title(_short(name))
        for axes in grid.flat[len(shown) :]:
            axes.set_visible(False)
        (across, across_form), (up, up_form) = labels
        for side, form in (("x", across_form), ("y", up_form)):
            if form:
                _logarithmic(grid[0, 0], side, form)  # and so all others
        _margins(figure, left=0.7, bottom=0.5, top=0.3)
        figure.subplots_adjust(wspace=0.08, hspace=0.25)
        figure.supxlabel(across, fontsize=9, y=0.05 / figure.get_figheight(), va="bottom")
        figure.supylabel(up, fontsize=9, x=0.05 / WIDTH, ha="left")
        return _svg(figure)


def _margins(figure: Figure, *, left: float, bottom: float, top: float) -> None:
    """Set margins in inches; matplotlib's own layouts draw everything twice to find them."""
    height = figure.get_figheight()
    figure.subplots_adjust(left / WIDTH, bottom / height, 1 - 0.1 / WIDTH, 1 - top / height)


def _logarithmic(axes: Axes, side: str, form: Callable[[float, int], str]) -> None:
    """Few ticks, the fewer the longer the axis, written as 100 and not as a power."""
    getattr(axes, f"set_{side}scale")("log")
    axis = axes.xaxis if side == "x" else axes.yaxis
    low, high = axes.get_xlim() if side == "x" else axes.get_ylim()
    axis.set_major_locator(
        LogLocator(subs=(1, 2, 5) if high / low < 6 else (1, 3) if high / low < 60 else (1,))
    )
    axis.set_major_formatter(FuncFormatter(form))
    axis.set_minor_locator(NullLocator())


def _as_number(value: float, _: int = 0) -> str:
    return f"{value:g}"


def _as_bytes(value: float, _: int = 0) -> str:
    for unit in ("B", "kB"):
        if value < 1000:
            return f"{value:g} {unit}"
        value /= 1000
    return f"{value:g} MB"


def _longest(classes: dict[str, dict[str, int]]) -> int:
    return max(counts["train"] + counts["test"] + counts["dropped"] for counts in classes.values())


def _short(name: str) -> str:
    plain = "".join(c if c.isprintable() else "?" for c in name).replace("$", r"\$")
    return plain if len(plain) <= 24 else plain[:23] + "…"


def _svg(figure: Figure) -> str:
    """The figure as the source of an HTML image."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in a script that the font lacks
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()
