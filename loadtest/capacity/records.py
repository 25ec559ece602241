"""What a search for the capacity leaves in its folder, and reading it again."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from loadtest.capacity.figures import Latencies, LatencyLimits, ProbeFigures
from loadtest.capacity.search import Knee, Verdict
from model.errors import FlyobjError, InputError, Interrupted
from model.files import exact_keys, read_json, reading, write_json
from model.typed import check_fields
from report.tables import write_csv
from serving.server.process_tree import processor

_REMEDY = "measure it again"
FIGURES, PAGE, PROBES, SECONDS = "capacity.json", "report.html", "probes.csv", "seconds.csv"


class EndReason(StrEnum):
    """How a search ended."""

    DONE = "the search is complete"
    OUT_OF_TIME = "time ran out"
    SERVER_GONE = "the server ended"
    INTERRUPTED = "it was interrupted"


@dataclass(frozen=True)
class Probe:
    """Some seconds at one rate.

    Attributes:
        number: from 1.
        rate: offered, requests/s.
        long: whether it confirms the knee.
        began_s: from the start of the search.
        seconds: sent, with the warm-up.
        figures: of what came after the warm-up.
        cpu_ms: of the server, for each right answer.
        cores: used by Java, the workers, the load test, and everything else on the machine.
        batches: how many formed, by their size.
    """

    number: int
    rate: float
    long: bool
    began_s: float
    seconds: float
    figures: ProbeFigures
    cpu_ms: float | None
    cores: dict[str, float]
    batches: dict[int, int]

    def __str__(self) -> str:
        """Say the result, on one line."""
        f, times = self.figures, self.figures.latencies
        p99 = f"p50 {times.p50_ms:.0f}, p99 {times.p99_ms:.0f} ms" if times else "no answer"
        words = [f"{self.rate:7g}/s {f.verdict}, {p99}"]
        if f.failed:
            words.append(f"{f.failed} of {f.requests} failed: {next(iter(f.faults), 'not sent')}")
        if f.verdict is Verdict.LATE:
            words.append(f"sent {f.lag_p99_ms:.0f} ms late")
        if f.verdict is Verdict.DISTURBED:
            words.append(f"as other programs used {self.cores['others']:.1f} cores; tried again")
        return ", ".join(words) + (" (confirming)" if self.long else "")

    @property
    def mean_batch(self) -> float | None:
        """Requests a batch."""
        count = sum(self.batches.values())
        return sum(size * n for size, n in self.batches.items()) / count if count else None


@dataclass(frozen=True)
class Second:
    """What happened in one second of the search; cores used, memory in MiB where it was asked."""

    second: int
    offered: int
    answered: int
    failed: int
    java: float
    workers: float
    load_test: float
    others: float
    memory_mib: float | None


@dataclass(frozen=True)
class Capacity:
    """A search: how it was made, on what, and what it found."""

    settings: dict[str, Any]
    conditions: dict[str, str]
    ended: EndReason
    knee: Knee
    probes: Sequence[Probe]
    seconds: Sequence[Second]
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def at_knee(self) -> Probe | None:
        """The probe that the knee rests on: the longest that held there."""
        held = [
            probe
            for probe in self.probes
            if probe.rate == self.knee.rate and probe.figures.verdict is Verdict.HELD
        ]
        return max(held, key=lambda probe: probe.seconds, default=None)


def machine() -> dict[str, str]:
    """Describe this machine."""
    memory = psutil.virtual_memory().total / 2**30
    return {"machine": f"{processor()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB"}


def check_folder(out: Path) -> None:
    """Refuse a folder that exists: an earlier result is never written over."""
    if out.exists():
        raise InputError(f"{str(out)!r} exists already; give another --out")


def require_knee(capacity: Capacity, out: Path) -> None:
    """Raise if the search ended before its time, or no rate held; `out` has what was measured."""
    seen = f"what was measured is in {str(out)!r}"
    if capacity.ended is EndReason.INTERRUPTED:
        raise Interrupted(f"interrupted; {seen}")
    if capacity.ended is EndReason.SERVER_GONE:
        raise FlyobjError(f"the server ended after {len(capacity.probes)} probes; {seen}")
    if capacity.knee.rate is None:
        raise FlyobjError(
            f"no rate held (p99 {capacity.settings['p99_ms']:g} ms, {capacity.ended}); {seen}; allow "
            "more with --p99-ms, or begin lower with --first-rate"
        )


def write_figures(capacity: Capacity, out: Path) -> None:
    """Write the JSON document and the two tables into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(asdict(capacity), out / FIGURES)
    _write_table(map(_row, capacity.probes), out / PROBES)
    _write_table(map(asdict, capacity.seconds), out / SECONDS)


def read_capacity(folder: Path) -> Capacity:
    """Read a folder that `write_figures` has filled.

    Raises:
        InputError: there is no such result in it, or not of this version.
    """
    if not (folder / FIGURES).exists():
        raise InputError(
            f"{str(folder)!r} holds no {FIGURES}; give a folder that `flyobj loadtest "
            "--find-capacity` has written"
        )
    path = folder / FIGURES
    with reading(path, _REMEDY):
        read = exact_keys(read_json(path), [f.name for f in fields(Capacity)], repr(str(path)))
        check_fields(Capacity, read, repr(str(path)), _REMEDY)
        LatencyLimits(*(float(read["settings"][name]) for name in ("p99_ms", "max_failures")))
        changed = {
            "ended": EndReason(read["ended"]),
            "knee": Knee(**read["knee"]),
            "probes": [_probe(probe) for probe in read["probes"]],
            "seconds": [Second(**second) for second in read["seconds"]],
        }
        return Capacity(**(read | changed))


def _probe(read: dict[str, Any]) -> Probe:
    figures = read["figures"]
    if latencies := figures["latencies"]:
        latencies = Latencies(**(latencies | {"p99_95": tuple(latencies["p99_95"])}))
    if not latencies and figures["verdict"] == Verdict.HELD:
        raise ValueError("a rate held without an answer")
    known = figures | {"latencies": latencies, "verdict": Verdict(figures["verdict"])}
    batches = {int(size): count for size, count in read["batches"].items()}
    return Probe(**(read | {"figures": ProbeFigures(**known), "batches": batches}))


def _row(probe: Probe) -> dict[str, Any]:
    """One line of the table of probes."""
    f, times = probe.figures, probe.figures.latencies
    low, high = times.p99_95 if times else (None, None)
    return {
        "number": probe.number,
        "rate": probe.rate,
        "verdict": f.verdict,
        "confirms": probe.long,
        "began_s": probe.began_s,
        "seconds": probe.seconds,
        "requests": f.requests,
        "failed": f.failed,
        "p50_ms": times and times.p50_ms,
        "p95_ms": times and times.p95_ms,
        "p99_ms": times and times.p99_ms,
        "p99_low_ms": low,
        "p99_high_ms": high,
        "lag_p99_ms": f.lag_p99_ms,
        "cpu_ms": probe.cpu_ms,
        "mean_batch": probe.mean_batch and round(probe.mean_batch, 2),
        **{f"{name}_cores": value for name, value in probe.cores.items()},
    }


def _write_table(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    table = [*rows]
    write_csv(path, [*table[0]] if table else [], [[*row.values()] for row in table])
