"""Charts for HTML pages, light or dark, and as PNG files: the one module that imports matplotlib.

A page holds a chart as SVG in which `INK`, `SOFT`, `LINE` and `PAPER` are the variables of its CSS, so
one drawing serves both schemes, and text stays text.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from model.files import atomic_file
from model.text import printable

__all__ = ["Axes", "Figure", "to_rgb"]  # for drawing functions

BLUE, PALE, RED, GREEN, AMBER, GREY = "#3a80c9", "#8fb9e3", "#d9603b", "#2f9e77", "#d9a441", "#8b99a6"
# What isn't data. White in a chart is white in both schemes, and `PAPER` the page's.
INK, SOFT, LINE, PAPER = "#22303c", "#5b6b79", "#dde4ea", "#fffffe"
DASHED = (0, (4, 3))

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.axisbelow": True,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "savefig.facecolor": PAPER,
    "text.parse_math": False,  # a class called $x$ is no formula
    "svg.fonttype": "none",  # text as text: small, quick, in whatever script a name is
    "svg.hashsalt": "flyobj",  # the same picture gives the same bytes
    "xtick.color": SOFT,
    "ytick.color": SOFT,
}
mpl.rcParams.update(_STYLE)  # nobody else draws


@dataclass(frozen=True)
class Chart:
    """A figure with its name on the page and its description for those who can't see it."""

    name: str
    alt: str
    figure: Figure

    def svg(self) -> str:
        """Return an `<svg>` element for a page."""
        stream = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        _save(self.figure, stream, format="svg", facecolor="none", metadata=nothing)
        text = stream.getvalue()
        for name, colour in {"ink": INK, "soft": SOFT, "line": LINE, "paper": PAPER}.items():
            text = text.replace(f": {colour}", f": var(--{name})")
        text = re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", text)  # each chart has the same ones
        return f'<svg role="img" aria-label="{escape(self.alt)}"' + text.partition("<svg")[2]


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as a file, on white; raises `FlyobjError` if the disk is full, say."""
    with atomic_file(path) as partial:
        _save(figure, partial, format="png", dpi=130)


def panels(
    size: tuple[float, float], lines: int = 1, columns: int = 1, shown: int | None = None, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of `size`, inches, with its panels line by line; `shown` leaves the last ones empty."""
    figure = Figure(size, layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False, **options).flat)
    for axes in grid[shown:] if shown else ():
        axes.set_visible(False)
    return figure, grid[:shown]


def stack_bars(
    axes: Axes, names: Sequence[str], parts: Mapping[str, Sequence[float]], colours: Sequence[str]
) -> list[BarContainer]:
    """Lay bars of each part after one another, a line for each name from the top."""
    bars, left = [], np.zeros(len(names))
    for (label, lengths), colour in zip(parts.items(), colours, strict=True):
        bars.append(axes.barh(range(len(names)), lengths, 0.7, left, color=colour, label=label))
        left += lengths
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    legend_above(axes)
    return bars


def legend_above(axes: Axes) -> None:
    """Put the legend on one line, right of the title."""
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=5, borderpad=0.2)


def mark(
    axes: Axes, side: Literal["x", "y"], value: float, text: str, colour: str = SOFT, ha: str = "left"
) -> None:
    """Draw a dashed line across the axes at a value, with its label."""
    style: dict[str, Any] = {"color": colour, "ha": ha, "va": "bottom", "fontsize": 8.5}
    if side == "x":
        axes.axvline(value, color=colour, lw=1.4, ls=DASHED, zorder=1)
        axes.text(value, 1.01, text, transform=axes.get_xaxis_transform(), **style)
    else:
        axes.axhline(value, color=colour, lw=1.4, ls=DASHED, zorder=1)
        axes.text(0.01, value, text, transform=axes.get_yaxis_transform(), **style)


def percent_ticks(*axes: Axis) -> None:
    """Write 0 to 1 as percent."""
    for axis in axes:
        axis.set_major_formatter(PercentFormatter(1))


def whole_ticks(axis: Axis, at_most: int) -> None:
    """Put few ticks, at whole numbers."""
    axis.set_major_locator(MaxNLocator(at_most, integer=True))


def scale_log(
    axes: Axes, side: Literal["x", "y"], form: Callable[[float], str] = "{:g}".format, at_most: int = 12
) -> None:
    """Make an axis with its data logarithmic: about `at_most` ticks, written out, not as powers."""
    axes.set(**{f"{side}scale": "log"})
    axis = axes.xaxis if side == "x" else axes.yaxis
    low, high = axes.get_xlim() if side == "x" else axes.get_ylim()
    for ticks in ((1, 2, 5), (1, 3), (1,)):  # of each decade
        axis.set_major_locator(LogLocator(subs=ticks))
        if len(ticks) * math.log10(high / low) <= at_most:
            break
    axis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axis.set_minor_locator(NullLocator())


def short(name: str) -> str:
    """A name as it fits beside an axis."""
    plain = printable(name)
    return plain if len(plain) <= 24 else plain[:23] + "…"


def _save(figure: Figure, target: Any, **options: Any) -> None:
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of letters the font lacks
        figure.savefig(target, **options)
