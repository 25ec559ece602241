"""The pages that show a capacity, or two: one HTML file each with everything in it, light or dark."""

from pathlib import Path

from loadtest.capacity.charts import charts_of, compare_latencies
from loadtest.capacity.compare import KNEE_NOISE, CapacityComparison
from loadtest.capacity.figures import DISTURBED
from loadtest.capacity.records import Capacity
from loadtest.capacity.search import Verdict
from loadtest.capacity.sizing import HEADROOM, SPARE, core_hours, machines
from report.charts import Chart
from report.html import write_html

RATES = (100, 1000, 10_000)  # requests/s that machines are counted for


def write_page(capacity: Capacity, path: Path) -> None:
    """Show a search on one page."""
    knee, at = capacity.knee, capacity.at_knee
    write_html(
        path,
        "loadtest/capacity/report.html.j2",
        charts_of(capacity),
        capacity=capacity,
        at=at,
        amber=any(p.figures.verdict in (Verdict.LATE, Verdict.DISTURBED) for p in capacity.probes),
        million=core_hours(at.cpu_ms) if at and at.cpu_ms else None,
        machines={rate: machines(rate, knee.rate) for rate in RATES} if knee.rate else {},
        disturbed=DISTURBED,
        headroom=HEADROOM,
        spare=SPARE,
        memory_mib=_memory(capacity),
    )


def write_comparison(c: CapacityComparison, before: Capacity, after: Capacity, path: Path) -> None:
    """Show two searches on one page."""
    figure = compare_latencies(before, after, c.worse_rates)
    charts = [Chart("compared", "latencies by rate, before and after", figure)]
    values = {"c": c, "before": before, "after": after, "noise": KNEE_NOISE}
    pairs = _pairs(before, after)
    write_html(path, "loadtest/capacity/compare.html.j2", charts, pairs=pairs, **values)


def _pairs(before: Capacity, after: Capacity) -> list[tuple[str, float | None, float | None, str]]:
    """What else was seen at both knees: name, before, after, unit."""
    one, two = before.at_knee, after.at_knee
    if one is None or two is None:
        return []
    return [
        ("CPU per answer", one.cpu_ms, two.cpu_ms, "ms"),
        ("requests per batch", one.mean_batch, two.mean_batch, ""),
        ("memory of the server, at most", _memory(before), _memory(after), "MiB"),
        ("cores that other programs used", one.cores["others"], two.cores["others"], ""),
    ]


def _memory(capacity: Capacity) -> float | None:
    return max((s.memory_mib for s in capacity.seconds if s.memory_mib), default=None)
