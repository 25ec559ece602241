"""How `flyobj loadtest` shows a search for the capacity, while it runs and after it."""

from typing import TYPE_CHECKING

import rich
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from loadtest.capacity.compare import CapacityComparison
    from loadtest.capacity.find import CapacitySettings
    from loadtest.capacity.records import Capacity, Probe
    from loadtest.capacity.search import Step


class ProbeLog:
    """A progress bar over the time that the search may take, and a line for each probe."""

    def __init__(self, settings: "CapacitySettings") -> None:
        """Know how long it may take."""
        self._settings = settings
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn(f"of at most {settings.max_minutes:g} min"),
            console=rich.get_console(),
            transient=True,
        )
        self._task = self._bar.add_task("first requests", total=60 * settings.max_minutes)

    def __enter__(self) -> "ProbeLog":
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self._bar.stop()

    def begins(self, step: "Step") -> None:
        """Say what is being tried."""
        what = "confirming " if step.long else ""
        elapsed = self._bar.tasks[0].elapsed or 0.0
        text = f"{what}{step.rate:g}/s for {self._settings.seconds(step):g} s"
        self._bar.update(self._task, description=text, completed=elapsed)

    def ended(self, probe: "Probe") -> None:
        """Print what came of it."""
        self._bar.console.print(_of(probe))


def _of(probe: "Probe") -> str:
    f = probe.figures
    colour = {"held": "green", "broke": "red"}.get(f.verdict, "yellow")
    times = f.latencies
    p99 = f"p50 {times.p50_ms:.0f}, p99 {times.p99_ms:.0f} ms" if times else "no answer"
    failed = (
        f", {f.failed} of {f.requests} failed: {next(iter(f.faults), 'not sent')}" if f.failed else ""
    )
    late = f", sent {f.lag_p99_ms:.0f} ms late" if f.verdict == "generator late" else ""
    line = f"{probe.rate:7g}/s [{colour}]{f.verdict}[/] {p99}" + escape(failed + late)
    return line + (" (confirming)" if probe.long else "")


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
            f"{at.cpu_ms:.1f} CPU-ms an answer, {core_hours(at.cpu_ms):.1f} core-hours for a million"
        )
    if knee.limited_by == "generator":
        lines.append("[yellow]the load generator is the bottleneck[/], not the server: it sent too late")
    if knee.limited_by == "others":
        lines.append("[yellow]other programs were in the way[/] each time that a higher rate was tried")
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
