"""How `flyobj loadtest` sums up a search for the capacity, or two."""

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from loadtest.capacity.compare import CapacityComparison
    from loadtest.capacity.records import Capacity


def lines_of(capacity: "Capacity") -> list[str]:
    """Sum a search up."""
    from loadtest.capacity.sizing import core_hours

    knee, limit, at = capacity.knee, capacity.settings["p99_ms"], capacity.at_knee
    if knee.rate is None or at is None or at.figures.latencies is None:
        return ["no rate held"]
    least = "at least " if knee.at_least else ""
    lines = [
        f"knee {least}[bold]{knee.rate:g} requests/s[/]: p99 {at.figures.latencies.p99_ms:.0f} of "
        f"{limit:g} ms allowed, batches of {at.mean_batch or 0:.1f}"
    ]
    if at.cpu_ms:
        lines.append(
            f"{at.cpu_ms:.1f} CPU-ms per answer, {core_hours(at.cpu_ms):.1f} core-hours per million"
        )
    if knee.limited_by == "generator":
        lines.append("[yellow]the load generator is the bottleneck[/], not the server: it sent late")
    if knee.limited_by == "others":
        lines.append("[yellow]other programs interfered[/] each time a higher rate was tried")
    if not knee.confirmed:
        lines.append(f"[yellow]not confirmed by longer runs[/]: {capacity.ended}")
    return lines


def differences_of(comparison: "CapacityComparison") -> list[Table | str]:
    """Sum a comparison up."""
    table = Table("requests/s", "p99 before", "after", "ratio", "")
    for d in comparison.differences:
        after = "-" if d.after_ms is None else f"{d.after_ms:.1f} ms"
        ratio = "-" if d.ratio is None else f"{d.ratio:.2f}"
        mark = "[red]worse[/]" if d.worse else ""
        table.add_row(f"{d.rate:g}", f"{d.before_ms:.1f} ms", after, ratio, mark)
    changed = [
        f"{name}: {old} before, {new} after" for name, (old, new) in comparison.conditions.items()
    ]
    knees = (
        f"{rate:g} requests/s" if rate else "none" for rate in (comparison.before, comparison.after)
    )
    mark = "[red]worse[/]" if comparison.worse else "no worse"
    ratio = f", ratio {comparison.ratio:.2f}: {mark}" if comparison.ratio is not None else ""
    return [table, *map(escape, changed), f"knee {' before, '.join(knees)} after{ratio}"]
