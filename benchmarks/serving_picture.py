"""The picture of `benchmarks.serving`: what an answer costs, and how many there are."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

MAIN = "640 px, 32 clients"


def draw_picture(document: dict[str, Any], path: Path) -> None:
    """Draw two panels of bars: CPU-milliseconds an answer and answers a second, warm."""
    rows = {name: row["cells"][MAIN] for name, row in document["contenders"].items() if row["cells"]}
    rows = {name: cell for name, cell in rows.items() if "per_s" in cell}
    if not rows:
        return
    figure, axes = plt.subplots(
        1, 2, figsize=(11, 0.4 * len(rows) + 1.4), sharey=True, layout="constrained"
    )
    colours = [_colour(name) for name in rows]
    for panel, (key, title) in zip(
        axes, (("cpu_ms", "CPU-ms an answer (less is better)"), ("per_s", "answers/s")), strict=True
    ):
        values = [cell[key] for cell in rows.values()]
        bars = panel.barh(list(rows), values, color=colours)
        panel.bar_label(bars, fmt="%.1f", padding=3)
        panel.set_title(f"{title}, {MAIN}", fontsize=10)
        panel.margins(x=0.15)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _colour(name: str) -> str:
    if name == "flying-objects":
        return "tab:orange"
    return "tab:gray" if name.endswith(":manual") else "tab:blue"
