"""The pages that show a capacity, or two: one HTML file each with everything in it, light or dark."""

from dataclasses import dataclass
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
    fleet = {rate: machines(rate, knee.rate) for rate in RATES} if knee.rate else {}
    million = core_hours(at.cpu_ms) if at and at.cpu_ms else None
    amber = any(p.figures.verdict in (Verdict.LATE, Verdict.DISTURBED) for p in capacity.probes)
    values = {"capacity": capacity, "at": at, "amber": amber, "million": million, "machines": fleet}
    values |= {
        "disturbed": DISTURBED,
        "headroom": HEADROOM,
        "spare": SPARE,
        "memory_mib": _memory(capacity),
    }
    write_html(path, "loadtest/capacity/report.html.j2", charts_of(capacity), **values)


def write_comparison(c: CapacityComparison, before: Capacity, after: Capacity, path: Path) -> None:
    """Show two searches on one page."""
    alt = "latencies by rate, before and after"
    chart = Chart("compared", alt, compare_latencies(before, after, c.worse_rates))
    pairs = _pairs(before, after)
    values = {"c": c, "before": before, "after": after, "pairs": pairs, "noise": KNEE_NOISE}
    write_html(path, "loadtest/capacity/compare.html.j2", [chart], **values)


@dataclass(frozen=True)
class Pair:
    """A figure at the knee, before and after."""

    name: str
    before: float | None
    after: float | None
    unit: str

    @property
    def ratio(self) -> float | None:
        """After to before."""
        return self.after / self.before if self.before and self.after is not None else None


def _pairs(before: Capacity, after: Capacity) -> list[Pair]:
    """Compare what else was seen at the knee."""
    one, two = before.at_knee, after.at_knee
    if one is None or two is None:
        return []
    return [
        Pair("CPU an answer", one.cpu_ms, two.cpu_ms, "ms"),
        Pair("requests a batch", one.mean_batch, two.mean_batch, ""),
        Pair("memory of the server, at most", _memory(before), _memory(after), "MiB"),
        Pair("cores that other programs used", one.cores["others"], two.cores["others"], ""),
    ]


def _memory(capacity: Capacity) -> float | None:
    return max((s.memory_mib for s in capacity.seconds if s.memory_mib), default=None)
