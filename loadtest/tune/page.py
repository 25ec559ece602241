"""What `flyobj tune` saw: one HTML page with everything in it, all loads as CSV, the JSON document."""

import csv
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

Document = dict[str, Any]
LABELS = {
    "workers": "workers",
    "threads": "threads of each",
    "batch_size": "batch size",
    "batch_delay_ms": "batch delay, ms",
    "engine": "engine",
}
_FIGURES = ("per_s", "p50_ms", "p99_ms", "cpu_ms", "wrong")
_WIDTH, _LEFT, _BOTTOM = 760, 56, 44  # of a chart, px
_HIGH, _LOW = 380, 230


def write_report(document: Document, folder: Path) -> Path:
    """Write `tuning.html`, `tuning.csv` and `tuning.json` into `folder`; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (folder / "tuning.json").write_text(text, encoding="utf-8")
    with (folder / "tuning.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("phase", "round", *LABELS, *_FIGURES))
        writer.writeheader()
        writer.writerows(_rows(document))
    page = folder / "tuning.html"
    page.write_text(render(document), encoding="utf-8")
    return page


def render(document: Document) -> str:
    """Return the page."""
    template = files("loadtest.tune").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        d=document,
        labels=LABELS,
        latency=document["goal"]["name"] == "latency",
        seen=_scatter(document),
        alone=_alone(document),
        duel=_duel(document),
        ranking=_ranking(document),
    )


def _rows(document: Document) -> list[dict[str, Any]]:
    rows = []
    for number, rung in enumerate(document["rungs"], 1):
        for candidate in rung["candidates"]:
            for turn, load in enumerate(candidate["loads"], 1):
                rows.append({"phase": f"rung {number}", "round": turn, **candidate["settings"], **load})
    for side in ("best", "defaults"):
        for turn, load in enumerate((document["duel"] or {}).get(side, ()), 1):
            rows.append({"phase": "duel", "round": turn, **document[side], **load})
    return rows


@dataclass(frozen=True)
class Axis:
    """From values to pixels."""

    low: float
    high: float
    start: float  # px
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Return the pixels and the texts of round values."""
        sizes = _round_values((1, 2, 5))
        if not self.log:
            step = next(size for size in sizes if (self.high - self.low) / size <= 8)
            sizes = [step * n for n in range(math.ceil(self.low / step), int(self.high / step) + 1)]
        elif self.high / self.low < 10:  # the decade's 1, 2 and 5 would be one or two ticks
            sizes = _round_values((1, 1.5, 2, 2.5, 3, 4, 5, 6, 8))
        return [(self.at(value), f"{value:g}") for value in sizes if self.low <= value <= self.high]


def _round_values(bases: Sequence[float]) -> list[float]:
    return [base * 10**power for power in range(-2, 6) for base in bases]


def _axes(xs: Sequence[float], ys: Sequence[float], height: int, log: bool) -> tuple[Axis, Axis]:
    low, high = (min(xs) / 1.15, max(xs) * 1.15) if log else (min(xs) - 0.5, max(xs) + 0.5)
    x = Axis(low, high, _LEFT, _WIDTH - 10, log)
    return x, Axis(0, (max(ys) or 1) * 1.12, height - _BOTTOM, 10)


def _medians(loads: Sequence[Document]) -> Document | None:
    """Return the medians of a candidate's loads, or None if it can't be used."""
    if any(load["wrong"] for load in loads):
        return None
    return {key: statistics.median(load[key] for load in loads) for key in _FIGURES[:-1]}


def _ranking(document: Document) -> list[Document]:
    """List the candidates, the best first, each with the figures of the last rung that it reached."""
    rows: list[Document] = []
    for number, rung in reversed(list(enumerate(document["rungs"], 1))):
        seen = [row["settings"] for row in rows]
        for candidate in rung["candidates"]:
            if candidate["settings"] not in seen:
                loads = candidate["loads"]
                why = next((load["wrong"] for load in loads if load["wrong"]), None)
                row = {"settings": candidate["settings"], "rung": number, "visits": rung["visits"]}
                rows.append({**row, "figures": _medians(loads), "wrong": why})
    return rows


def _scatter(document: Document) -> Document | None:
    """Place each candidate by its p99 and its rate."""
    rows = [row for row in _ranking(document) if row["figures"]]
    if not rows:
        return None
    limit = document["goal"]["p99_ms"]
    times = [row["figures"]["p99_ms"] for row in rows]
    x, y = _axes([*times, limit], [row["figures"]["per_s"] for row in rows], _HIGH, log=True)
    dots = [
        {
            "x": x.at(row["figures"]["p99_ms"]),
            "y": y.at(row["figures"]["per_s"]),
            "r": 3 + 2 * row["rung"],
            "torch": row["settings"]["engine"] == "torch",
            "name": _name(row["settings"], document),
            "title": f"{describe(row['settings'])}: {row['figures']['per_s']:.0f}/s, "
            f"p99 {row['figures']['p99_ms']:.0f} ms",
        }
        for row in rows
    ]
    return {"x": x, "y": y, "dots": dots, "limit": x.at(limit), "width": _WIDTH, "height": _HIGH}


def _name(settings: Document, document: Document) -> str:
    names = [name for name in ("defaults", "best") if document[name] == settings]
    return " = ".join(names)


def describe(settings: Document) -> str:
    """Put settings on one line."""
    return (
        f"{settings['workers']} x {settings['threads']} threads, batch {settings['batch_size']} in "
        f"{settings['batch_delay_ms']} ms, {settings['engine']}"
    )


def _alone(document: Document) -> list[Document]:
    """Say what each setting does alone: ratios to the defaults in the first rung, ordered by value."""
    first = {describe(c["settings"]): c for c in document["rungs"][0]["candidates"]}
    defaults = document["defaults"]
    base = _medians(first[describe(defaults)]["loads"]) if describe(defaults) in first else None
    rows = []
    for candidate in first.values():
        differs = [key for key in LABELS if candidate["settings"][key] != defaults[key]]
        figures = _medians(candidate["loads"])
        if len(differs) != 1 or not base or not figures:
            continue
        (key,) = differs
        ratio = figures["per_s"] / base["per_s"]
        if document["goal"]["name"] == "latency":
            ratio = base["p99_ms"] / figures["p99_ms"]
        value = candidate["settings"][key]
        rows.append({"key": key, "value": value, "before": defaults[key], "ratio": ratio})
    rows.sort(key=lambda row: (list(LABELS).index(row["key"]), str(row["value"]).rjust(6)))
    return rows


def _duel(document: Document) -> Document | None:
    """Place the rounds of the duel."""
    if not document["duel"]:
        return None
    key = "p99_ms" if document["goal"]["name"] == "latency" else "per_s"
    lines = {side: [load[key] or 0 for load in document["duel"][side]] for side in ("defaults", "best")}
    rounds = range(1, len(lines["best"]) + 1)
    x, y = _axes(list(rounds), [v for line in lines.values() for v in line], _LOW, log=False)
    points = {
        side: [(x.at(n), y.at(value), value) for n, value in zip(rounds, line, strict=True)]
        for side, line in lines.items()
    }
    return {"x": x, "y": y, "points": points, "width": _WIDTH, "height": _LOW}
