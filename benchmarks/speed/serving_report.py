"""What `benchmarks.speed.serving` reports: medians, a table, and a picture of what an answer costs."""

import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.speed.inputs import MAIN_WIDTH
from report.charts import AMBER, BLUE, GREY, panels, save_png, scale_log

MAIN_CLIENTS = 32
MAIN = f"{MAIN_WIDTH} px, {MAIN_CLIENTS} clients"


def median(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Take the median of each figure; errors are added up."""
    merged: dict[str, Any] = {"errors": sum(figures["errors"] for figures in rounds)}
    merged["examples"] = [e for figures in rounds for e in figures.get("examples", [])][:3]
    for key in ("per_s", "p50_ms", "p99_ms", "cpu_ms", "client_cpu_ms"):
        values = [figures[key] for figures in rounds if key in figures]
        if values:
            merged[key] = round(statistics.median(values), 2)
            merged[f"{key}_all"] = values
    merged["cpu_ms_of"] = rounds[-1].get("cpu_ms_of", {})
    return merged


def print_table(document: dict[str, Any]) -> None:
    """Print the main load, one row a contender."""
    columns = ["contender", "answers/s", "p50 ms", "p99 ms", "CPU-ms", "first 10 s", "ready s", "MiB"]
    table = Table(*columns, "errors", title=MAIN, title_justify="left")
    for name, row in document["contenders"].items():
        if "failed" in row:
            table.add_row(name, "failed")
            continue
        cell = row["cells"][MAIN]
        figures = [cell.get(key, "") for key in ("per_s", "p50_ms", "p99_ms", "cpu_ms")]
        figures += [row.get("first_10_s", {}).get("per_s", ""), row.get("ready_s", "")]
        figures += [round(sum(row["pss_mib"].values())) if "pss_mib" in row else "", cell["errors"]]
        table.add_row(name, *map(str, figures))
    screen = Console(highlight=False)
    screen.print(table)
    for name, row in document["contenders"].items():
        if "failed" in row:
            screen.print(f"{name} {row['failed']}", markup=False)


def draw_picture(document: dict[str, Any], path: Path) -> None:
    """Draw two panels of bars: CPU-milliseconds an answer and answers a second, warm."""
    rows = {name: row["cells"][MAIN] for name, row in document["contenders"].items() if row["cells"]}
    rows = {name: cell for name, cell in rows.items() if "per_s" in cell}
    if not rows:
        return
    figure, axes = panels((11, 0.4 * len(rows) + 1.4), 1, 2, sharey=True)
    colours = [_colour(name) for name in rows]
    for panel, (key, title) in zip(
        axes, (("cpu_ms", "CPU-ms per answer (less is better)"), ("per_s", "answers/s")), strict=True
    ):
        values = [cell[key] for cell in rows.values()]
        bars = panel.barh(list(rows), values, color=colours)
        panel.bar_label(bars, fmt="%.1f", padding=3)
        panel.set_title(f"{title}, {MAIN}")
        panel.margins(x=0.15)
        if key == "cpu_ms":
            panel.set_xlim(1, 1.3 * max(values))
            scale_log(panel, "x")  # the manuals' servers cost ten times ours, or a hundred times
    axes[0].invert_yaxis()
    save_png(figure, path)


def _colour(name: str) -> str:
    if name.startswith("flying-objects"):
        return AMBER
    return GREY if name.endswith(":manual") else BLUE
