"""The charts of a capacity: latencies against the rate, what the server did meanwhile, two compared."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from loadtest.capacity.compare import by_rate
from loadtest.capacity.records import Capacity, Probe
from loadtest.capacity.search import Verdict
from report.charts import (
    AMBER,
    BLUE,
    DASHED,
    GREEN,
    GREY,
    INK,
    PALE,
    PAPER,
    RED,
    SOFT,
    Axes,
    Chart,
    Figure,
    percent_ticks,
    scale_log,
)

_SIZES = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 10_000))  # of batches, as they are shown
_SHADES = ("#c4daf0", "#8fb9e3", "#5a98d3", "#2f6fb3", "#1b4a80")


def charts_of(capacity: Capacity) -> list[Chart]:
    """List what there is to draw."""
    if not capacity.probes:
        return []
    return [
        Chart("latencies", "latency percentiles against the rate", latencies(capacity)),
        Chart("course", "rates, cores and memory over time", course(capacity)),
        Chart("batches", "batch sizes by rate", batches(capacity)),
        Chart("cpu", "CPU time of an answer by rate", cpu(capacity)),
    ]


def latencies(capacity: Capacity) -> Figure:
    """Percentiles by rate; hollow where the rate broke. The band is the p99's 95 % interval."""
    figure = Figure((9, 4.3), layout="constrained")
    axes = figure.subplots()
    probes = [p for _, p in sorted(by_rate(capacity).items()) if p.figures.latencies]
    for name, colour in (("p50", PALE), ("p95", BLUE), ("p99", RED)):
        _percentile(axes, probes, name, colour, name)
    found = [(p.rate, p.figures.latencies.p99_95) for p in probes if p.figures.latencies]
    if found:
        rates, (low, high) = [r for r, _ in found], np.array([i for _, i in found]).T
        axes.fill_between(rates, low, high, color=RED, alpha=0.15, lw=0)
    _limit(axes, capacity.settings["p99_ms"])
    if capacity.knee.rate:
        _knee(axes, capacity.knee.rate, f"knee {capacity.knee.rate:g}/s", GREEN)
    _axes_of_latency(axes)
    axes.legend(loc="upper left")
    return figure


def course(capacity: Capacity) -> Figure:
    """Three panels over time: rates, cores, memory. Probes are shaded by what became of them."""
    figure = Figure((9, 7.2), layout="constrained")
    rates, cores, memory = figure.subplots(3, 1, sharex=True, height_ratios=(2.2, 1.7, 1))
    seconds = capacity.seconds
    t = np.array([s.second for s in seconds]) + 0.5
    for axes in (rates, cores, memory):
        _shade(axes, capacity.probes)
        axes.grid(axis="y")
    rates.plot(t, [s.offered for s in seconds], color=GREY, lw=1.1, label="offered")
    rates.plot(t, [s.answered for s in seconds], color=BLUE, lw=1.5, label="answered")
    if any(s.failed for s in seconds):
        rates.bar(t, [s.failed for s in seconds], 1, color=RED, label="failed")
    rates.set_title("Requests a second")
    used = {"workers": BLUE, "java": PALE, "load_test": AMBER, "others": GREY}
    names = ("workers", "Java", "load test", "everything else")
    series = [[getattr(s, part) for s in seconds] for part in used]
    cores.stackplot(t, *series, colors=[*used.values()], labels=names, alpha=0.9, lw=0)
    cores.set_title("Cores in use")
    known = [(s.second, s.memory_mib / 1024) for s in seconds if s.memory_mib]
    memory.plot(*zip(*known, strict=True), color=BLUE) if known else None
    memory.set(title="The server's memory, GiB", xlabel="seconds", xlim=(0, len(seconds)))
    memory.set_ylim(0, 1.2 * max((gib for _, gib in known), default=1))
    for axes in (rates, cores):
        axes.set_ylim(0, None)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderpad=0)
    return figure


def batches(capacity: Capacity) -> Figure:
    """Shares of the requests by the size of the batch that they went in."""
    figure = Figure((5.6, 3.7), layout="constrained")
    axes = figure.subplots()
    probes = [p for _, p in sorted(by_rate(capacity).items()) if p.batches]
    left = np.zeros(len(probes))
    for (low, high), shade in zip(_SIZES, _SHADES, strict=True):
        shares = np.array([_share(p, low, high) for p in probes])
        if shares.any():
            label = f"{low}" if low == high else f"{low} to {high}" if high < 100 else f"over {low - 1}"
            axes.barh(range(len(probes)), shares, left=left, color=shade, label=label, height=0.78)
            left += shares
    for place, probe in enumerate(probes):
        text: dict[str, Any] = {"va": "center", "fontsize": 8.5, "color": SOFT}
        axes.text(1.015, place, f"{probe.mean_batch:.1f}", **text)
    axes.set_yticks(range(len(probes)), [f"{p.rate:g}/s" for p in probes])
    axes.set(xlim=(0, 1), ylim=(len(probes) - 0.4, -0.6))
    percent_ticks(axes.xaxis)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.legend(ncols=5, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0.2)
    return figure


def cpu(capacity: Capacity) -> Figure:
    """CPU-milliseconds an answer, split by the cores that Java and the workers used."""
    figure = Figure((5.6, 3.7), layout="constrained")
    axes = figure.subplots()
    probes = [p for _, p in sorted(by_rate(capacity).items()) if p.cpu_ms]
    places = range(len(probes))
    total = np.array([p.cpu_ms for p in probes])
    java = total * [p.cores["java"] / (p.cores["java"] + p.cores["workers"]) for p in probes]
    axes.barh(places, total - java, color=BLUE, height=0.7, label="workers")
    bars = axes.barh(places, java, left=total - java, color=PALE, height=0.7, label="Java")
    axes.bar_label(bars, [f"{ms:.1f}" for ms in total], padding=4, color=INK, fontsize=8.5)
    axes.set_yticks(places, [f"{p.rate:g}/s" for p in probes])
    axes.set(xlabel="CPU-milliseconds an answer", ylim=(len(probes) - 0.4, -0.6))
    axes.margins(x=0.12)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0.2)
    return figure


def compare_latencies(before: Capacity, after: Capacity, worse: Sequence[float]) -> Figure:
    """The p99 and the p50 of both by rate; rates at which it got worse are ringed."""
    figure = Figure((9, 4.3), layout="constrained")
    axes = figure.subplots()
    for capacity, colour, name in ((before, GREY, "before"), (after, BLUE, "after")):
        probes = [p for _, p in sorted(by_rate(capacity).items()) if p.figures.latencies]
        _percentile(axes, probes, "p99", colour, f"{name}, p99")
        _percentile(axes, probes, "p50", colour, f"{name}, p50", faint=True)
        if rate := capacity.knee.rate:
            highest = max(before.knee.rate or 0, after.knee.rate or 0)
            side = "left" if rate == highest else "right"
            _knee(axes, rate, f"{name} {rate:g}/s", colour, side)
    known = by_rate(after)
    for rate in worse:
        if times := known[rate].figures.latencies:
            ring: dict[str, Any] = {"mfc": "none", "mec": RED, "ms": 16, "mew": 2, "zorder": 5}
            axes.plot(rate, times.p99_ms, "o", **ring)
    _limit(axes, after.settings["p99_ms"])
    _axes_of_latency(axes)
    axes.legend(loc="upper left")
    return figure


def _percentile(
    axes: Axes,
    probes: Sequence[Probe],
    name: str,
    colour: str,
    label: str,
    faint: bool = False,
) -> None:
    """A line with a point for each probe: full if the rate held, hollow if it broke."""
    points = [(p, getattr(p.figures.latencies, f"{name}_ms")) for p in probes]
    style: dict[str, Any] = {"color": colour, "lw": 1.0 if faint else 1.8, "ls": ":" if faint else "-"}
    axes.plot([p.rate for p, _ in points], [ms for _, ms in points], label=label, **style)
    for probe, ms in points:
        fill = colour if probe.figures.verdict is Verdict.HELD else PAPER
        axes.plot(probe.rate, ms, "o", ms=4 if faint else 6, mfc=fill, mec=colour, mew=1.3)


def _limit(axes: Axes, p99_ms: float) -> None:
    axes.axhline(p99_ms, color=SOFT, lw=1.2, ls=DASHED)
    style: dict[str, Any] = {"fontsize": 8.5, "va": "bottom", "color": SOFT}
    across = axes.get_yaxis_transform()
    axes.text(0.01, p99_ms * 1.03, f"limit {p99_ms:g} ms", transform=across, **style)


def _knee(axes: Axes, rate: float, label: str, colour: str, side: str = "right") -> None:
    axes.axvline(rate, color=colour, lw=1.5, ls=DASHED, zorder=1)
    style: dict[str, Any] = {"fontsize": 9, "weight": "bold", "ha": side, "va": "bottom"}
    axes.text(rate, 1.01, label, transform=axes.get_xaxis_transform(), color=colour, **style)


def _axes_of_latency(axes: Axes) -> None:
    axes.set(xlabel="requests a second, offered", ylabel="ms", xlim=(0, None))
    scale_log(axes, "y")
    axes.grid()


def _shade(axes: Axes, probes: Sequence[Probe]) -> None:
    colours = {Verdict.HELD: GREEN, Verdict.BROKE: RED}
    for probe in probes:
        opacity = 0.22 if probe.long else 0.1
        end = probe.began_s + probe.seconds
        colour = colours.get(probe.figures.verdict, AMBER)
        axes.axvspan(probe.began_s, end, color=colour, alpha=opacity, lw=0)


def _share(probe: Probe, low: int, high: int) -> float:
    """Of the requests, those in batches of `low` to `high`."""
    requests = {size: size * count for size, count in probe.batches.items()}
    return sum(n for size, n in requests.items() if low <= size <= high) / sum(requests.values())
