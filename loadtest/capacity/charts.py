"""The charts of a capacity: latencies against the rate, what the server did meanwhile, two compared."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from loadtest.capacity.compare import by_rate
from loadtest.capacity.records import Capacity, Probe
from loadtest.capacity.search import Verdict
from report import charts as kit
from report.charts import Axes, Chart, Figure

_SIZES = {"1": (1, 1), "2": (2, 2), "3 to 4": (3, 4), "5 to 8": (5, 8), "over 8": (9, 10_000)}
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
    figure, (axes,) = kit.panels((9, 4.3))
    probes = [p for p in by_rate(capacity).values() if p.figures.latencies]
    for name, colour in (("p50", kit.PALE), ("p95", kit.BLUE), ("p99", kit.RED)):
        _percentile(axes, probes, name, colour, name)
    found = [(p.rate, p.figures.latencies.p99_95) for p in probes if p.figures.latencies]
    if found:
        rates, (low, high) = [r for r, _ in found], np.array([i for _, i in found]).T
        axes.fill_between(rates, low, high, color=kit.RED, alpha=0.15, lw=0)
    if capacity.knee.rate:
        kit.mark(axes, "x", capacity.knee.rate, f"knee {capacity.knee.rate:g}/s", kit.GREEN)
    _finish_latencies(axes, capacity.settings["p99_ms"])
    return figure


def course(capacity: Capacity) -> Figure:
    """Three panels over time: rates, cores, memory. Probes are shaded by what became of them."""
    figure, panels = kit.panels((9, 7.2), 3, sharex=True, height_ratios=(2.2, 1.7, 1))
    rates, cores, memory = panels
    seconds = capacity.seconds
    t = np.array([s.second for s in seconds]) + 0.5
    for axes in (rates, cores, memory):
        _shade(axes, capacity.probes)
        axes.grid(axis="y")
    rates.plot(t, [s.offered for s in seconds], color=kit.GREY, lw=1.1, label="offered")
    rates.plot(t, [s.answered for s in seconds], color=kit.BLUE, lw=1.5, label="answered")
    if any(s.failed for s in seconds):
        rates.bar(t, [s.failed for s in seconds], 1, color=kit.RED, label="failed")
    rates.set_title("Requests a second")
    used = {"workers": kit.BLUE, "java": kit.PALE, "load_test": kit.AMBER, "others": kit.GREY}
    names = ("workers", "Java", "load test", "everything else")
    series = [[getattr(s, part) for s in seconds] for part in used]
    cores.stackplot(t, *series, colors=[*used.values()], labels=names, alpha=0.9, lw=0)
    cores.set_title("Cores in use")
    known = [(s.second, s.memory_mib / 1024) for s in seconds if s.memory_mib]
    memory.plot(*zip(*known, strict=True), color=kit.BLUE) if known else None
    memory.set(title="The server's memory, GiB", xlabel="seconds", xlim=(0, len(seconds)))
    memory.set_ylim(0, 1.2 * max((gib for _, gib in known), default=1))
    for axes in (rates, cores):
        axes.set_ylim(0, None)
        kit.legend_above(axes)
    return figure


def batches(capacity: Capacity) -> Figure:
    """Shares of the requests by the size of the batch that they went in."""
    figure, (axes,) = kit.panels((5.6, 3.7))
    probes = [p for p in by_rate(capacity).values() if p.batches]
    parts = {name: [_share(p, *sizes) for p in probes] for name, sizes in _SIZES.items()}
    parts = {name: shares for name, shares in parts.items() if any(shares)}
    kit.stack_bars(axes, [f"{p.rate:g}/s" for p in probes], parts, _SHADES[: len(parts)])
    for place, probe in enumerate(probes):
        text: dict[str, Any] = {"va": "center", "fontsize": 8.5, "color": kit.SOFT}
        axes.text(1.015, place, f"{probe.mean_batch:.1f}", **text)
    axes.set_xlim(0, 1)
    kit.percent_ticks(axes.xaxis)
    return figure


def cpu(capacity: Capacity) -> Figure:
    """CPU-milliseconds an answer, split by the cores that Java and the workers used."""
    figure, (axes,) = kit.panels((5.6, 3.7))
    probes = [p for p in by_rate(capacity).values() if p.cpu_ms]
    total = np.array([p.cpu_ms for p in probes])
    java = total * [p.cores["java"] / (p.cores["java"] + p.cores["workers"]) for p in probes]
    parts = {"workers": total - java, "Java": java}
    *_, last = kit.stack_bars(axes, [f"{p.rate:g}/s" for p in probes], parts, (kit.BLUE, kit.PALE))
    axes.bar_label(last, [f"{ms:.1f}" for ms in total], padding=4, color=kit.INK, fontsize=8.5)
    axes.set_xlabel("CPU-milliseconds per answer")
    axes.margins(x=0.12)
    axes.grid(axis="x")
    return figure


def compare_latencies(before: Capacity, after: Capacity, worse: Sequence[float]) -> Figure:
    """The p99 and the p50 of both by rate; rates at which it got worse are ringed."""
    figure, (axes,) = kit.panels((9, 4.3))
    higher = "after" if (after.knee.rate or 0) >= (before.knee.rate or 0) else "before"
    for capacity, colour, name in ((before, kit.GREY, "before"), (after, kit.BLUE, "after")):
        probes = [p for p in by_rate(capacity).values() if p.figures.latencies]
        _percentile(axes, probes, "p99", colour, f"{name}, p99")
        _percentile(axes, probes, "p50", colour, f"{name}, p50", faint=True)
        if rate := capacity.knee.rate:
            kit.mark(
                axes, "x", rate, f"{name} {rate:g}/s", colour, "left" if name == higher else "right"
            )
    known = by_rate(after)
    for rate in worse:
        if times := known[rate].figures.latencies:
            ring: dict[str, Any] = {"mfc": "none", "mec": kit.RED, "ms": 16, "mew": 2, "zorder": 5}
            axes.plot(rate, times.p99_ms, "o", **ring)
    _finish_latencies(axes, after.settings["p99_ms"])
    return figure


def _percentile(
    axes: Axes, probes: Sequence[Probe], name: str, colour: str, label: str, faint: bool = False
) -> None:
    """A line with a point for each probe: full if the rate held, hollow if it broke."""
    points = [(p, getattr(p.figures.latencies, f"{name}_ms")) for p in probes]
    style: dict[str, Any] = {"color": colour, "lw": 1.0 if faint else 1.8, "ls": ":" if faint else "-"}
    axes.plot([p.rate for p, _ in points], [ms for _, ms in points], label=label, **style)
    for probe, ms in points:
        fill = colour if probe.figures.verdict is Verdict.HELD else kit.PAPER
        axes.plot(probe.rate, ms, "o", ms=4 if faint else 6, mfc=fill, mec=colour, mew=1.3)


def _finish_latencies(axes: Axes, p99_ms: float) -> None:
    kit.mark(axes, "y", p99_ms, f"limit {p99_ms:g} ms")
    axes.set(xlabel="requests a second, offered", ylabel="ms", xlim=(0, None))
    kit.scale_log(axes, "y")
    axes.grid()
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.94))  # below a limit at the top


def _shade(axes: Axes, probes: Sequence[Probe]) -> None:
    colours = {Verdict.HELD: kit.GREEN, Verdict.BROKE: kit.RED}
    for probe in probes:
        opacity = 0.22 if probe.long else 0.1
        end = probe.began_s + probe.seconds
        colour = colours.get(probe.figures.verdict, kit.AMBER)
        axes.axvspan(probe.began_s, end, color=colour, alpha=opacity, lw=0)


def _share(probe: Probe, low: int, high: int) -> float:
    """Of the requests, those in batches of `low` to `high`."""
    requests = {size: size * count for size, count in probe.batches.items()}
    return sum(n for size, n in requests.items() if low <= size <= high) / sum(requests.values())
