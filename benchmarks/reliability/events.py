"""What clients saw of each event of a benchmark under load, added up and as a table."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.reliability.continuous_load import ContinuousLoad, Tally
from serving.server.latency import percentile

_AFTER_S = 1.0  # requests of an event are also those of a moment after it
console = Console(stderr=True, highlight=False)


class Events:
    """What was done under load, a row for each."""

    def __init__(self) -> None:
        """Begin with none."""
        self.rows: list[dict[str, Any]] = []

    @contextmanager
    def event(self, name: str, kind: str, *witnesses: ContinuousLoad) -> Iterator[dict[str, Any]]:
        """Count the requests that were under way during an event and shortly after."""
        console.print(f"{name} ...")
        row: dict[str, Any] = {"event": name, "kind": kind}
        since = time.monotonic()
        yield row
        row["seconds"] = round(time.monotonic() - since, 2)
        time.sleep(_AFTER_S)
        tallies = [w.tally(since, time.monotonic()) for w in witnesses]
        self.rows.append(row | added(tallies))
        console.print(self.rows[-1], soft_wrap=True)


def added(tallies: list[Tally]) -> dict[str, Any]:
    """Add up what several clients saw of one event."""
    statuses: dict[str, int] = {}
    for tally in tallies:
        for status, count in tally.statuses.items():
            statuses[str(status)] = statuses.get(str(status), 0) + count
    return {
        "requests": sum(t.requests for t in tallies),
        "failed": sum(t.failed for t in tallies),
        "wrong": sum(t.wrong for t in tallies),
        "longest_s": round(max(t.longest_s for t in tallies), 3),
        "statuses": statuses,
    }


def planned_sums(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up the planned operations."""
    own = [row for row in rows if row["kind"] == "planned"]
    return {key: sum(row[key] for row in own) for key in ("requests", "failed", "wrong")}


def merge_tallies(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add up the events of one name."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        zeros = dict.fromkeys(("times", "requests", "failed", "wrong"), 0)
        known = found.setdefault(row["event"], {**row, **zeros})
        known["times"] += 1
        for key in ("requests", "failed", "wrong"):
            known[key] += row[key]
        known["longest_s"] = max(known["longest_s"], row["longest_s"])
        for flag in ("as_before", "as_wanted"):
            if flag in row:
                known[flag] = known[flag] and row[flag]
    return list(found.values())


def quantiles(times_ms: list[float]) -> dict[str, float]:
    """Median, 99 % and highest."""
    return {f"p{q}": round(percentile(times_ms, q / 100), 1) for q in (50, 99, 100) if times_ms}


def print_table(events: list[dict[str, Any]]) -> None:
    """Print what happened, one line an event."""
    table = Table(
        "event", "times", "requests", "failed", "wrong version", "longest answer", "afterwards"
    )
    for row in events:
        state = row.get("as_before", row.get("as_wanted"))
        counts = [str(row[key]) for key in ("times", "requests", "failed", "wrong")]
        after = {None: "", True: "as it should be", False: "NOT as it should be"}[state]
        table.add_row(row["event"], *counts, f"{row['longest_s']:.2f} s", after)
    console.print(table)
