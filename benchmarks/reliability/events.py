"""What clients saw of each event of a benchmark under load, added up and as a table."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from benchmarks.program import console
from benchmarks.reliability.continuous_load import ContinuousLoad, RequestTally
from serving.server import lifecycle
from serving.server.process_tree import family

_AFTER_S = 1.0  # requests of an event are also those of a moment after it


class Events:
    """What was done under load, a row for each."""

    def __init__(self) -> None:
        """Begin with none."""
        self.rows: list[dict[str, Any]] = []

    @contextmanager
    def event(self, name: str, kind: str, *loads: ContinuousLoad) -> Iterator[dict[str, Any]]:
        """Count the requests that were under way during an event and shortly after."""
        console.print(f"{name} ...")
        row: dict[str, Any] = {"event": name, "kind": kind}
        since = time.monotonic()
        yield row
        row["seconds"] = round(time.monotonic() - since, 2)
        time.sleep(_AFTER_S)
        tallies = [load.tally(since, time.monotonic()) for load in loads]
        self.rows.append(row | add_up(tallies))
        console.print(self.rows[-1], soft_wrap=True)


def kill_server(home: Path) -> None:
    """Kill -9 of a server and nothing else; its workers end with it."""
    if process := lifecycle.require(home).process():
        members = family(process)
        process.kill()
        psutil.wait_procs(members, timeout=30)


def add_up(tallies: list[RequestTally]) -> dict[str, Any]:
    """Add up what several clients saw of one event."""
    statuses = sum((t.statuses for t in tallies), Counter[int]())
    return {
        "requests": sum(t.requests for t in tallies),
        "failed": sum(t.failed for t in tallies),
        "wrong": sum(t.wrong for t in tallies),
        "longest_s": round(max(t.longest_s for t in tallies), 3),
        "statuses": {str(status): count for status, count in statuses.items()},
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
