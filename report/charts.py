"""Charts for pages that are light or dark, and as PNG files."""

import base64
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

BLUE, RED, GREY, GREEN = "#3a80c9", "#d9603b", "#8b99a6", "#2f9e77"


@dataclass(frozen=True)
class Theme:
    """Colours of what isn't data."""

    ink: str
    soft: str
    line: str
    paper: str


LIGHT = Theme("#22303c", "#5b6b79", "#dde4ea", "#ffffff")
DARK = Theme("#e2e9ef", "#9aaab8", "#3a4855", "#18222b")

Draw = Callable[[Theme], Figure]


@dataclass(frozen=True)
class Chart:
    """A drawing with its name in files and its description for those who can't see it."""

    name: str
    alt: str
    draw: Draw

    def as_sources(self) -> dict[str, str]:
        """Sources of two HTML images, `light` and `dark`."""
        return {"alt": self.alt, "light": _svg(self.draw, LIGHT), "dark": _svg(self.draw, DARK)}

    def save(self, folder: Path) -> Path:
        """Write it as a PNG."""
        path = folder / f"{self.name}.png"
        with mpl.rc_context(_style(LIGHT)), _any_script():
            self.draw(LIGHT).savefig(path, dpi=130, facecolor=LIGHT.paper)
        return path


def _style(theme: Theme) -> dict[Any, Any]:
    return {
        "font.family": "sans-serif",
        "font.size": 9.5,
        "text.color": theme.ink,
        "axes.labelcolor": theme.soft,
        "axes.edgecolor": theme.line,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 12,
        "axes.titlecolor": theme.ink,
        "figure.facecolor": "none",
        "xtick.color": theme.soft,
        "ytick.color": theme.soft,
        "legend.labelcolor": theme.ink,
        "svg.hashsalt": "flyobj",  # the same picture gives the same bytes
    }


def _svg(draw: Draw, theme: Theme) -> str:
    stream = io.BytesIO()
    with mpl.rc_context(_style(theme)), _any_script():
        draw(theme).savefig(stream, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()


def _any_script() -> warnings.catch_warnings:
    """A name in a script that the font lacks is drawn as boxes."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
