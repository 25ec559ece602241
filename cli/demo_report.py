"""The demo's page: its figures, what the model said of test photos, batches and load."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.files import read_json
from model.layout import TEST, classes_in, read_layout
from model.photo_files import find_photos, spread
from report.charts import BLUE, Chart, Figure, panels, whole_ticks
from report.html import write_html
from report.pictures import thumbnail
from training.evaluation.charts import curves
from training.evaluation.history import read_history

SHOWN = 8  # test photos of each class
_SIDE = 224  # pixels of a photo's longer side


@dataclass(frozen=True)
class ShownPhoto:
    """A test photo with its class and what the model called it; `source` is None if it can't be read."""

    truth: str
    predicted: str
    source: str | None
    confidence: float | None = None


def write_report(summary: dict[str, Any], data: Path, out: Path) -> None:
    """Write `out/report.html`."""
    evaluation = read_json(out / "run" / "evaluation" / "evaluation.json")
    answered = [
        ShownPhoto(p["truth"], p["predicted"], thumbnail(Path(p["photo"]), _SIDE), p["confidence"])
        for p in summary["predictions"]
    ]
    charts = [
        Chart("training", "loss and accuracy by epoch", curves(read_history(out / "run"))),
        Chart("batches", "batches by their size", _batches(summary["batch_sizes"])),
        Chart("load", "rate and time to answer", _load(out / "load_stats_history.csv")),
    ]
    values = {"summary": summary, "evaluation": evaluation, "answered": answered}
    values |= {"tested": _tested(evaluation, data), "shown_of_each": SHOWN}
    write_html(out / "report.html", "cli/demo_report.html.j2", charts, **values)


def _tested(evaluation: dict[str, Any], data: Path) -> dict[str, list[ShownPhoto]]:
    """Take some photos of each class, evenly spread, and what the evaluation says of them.

    It lists its mistakes by their files; all other photos were answered rightly.
    """
    mistakes = {m["file"]: m["predicted"] for m in evaluation["mistakes"]}
    shown = {}
    test = read_layout(data).folder(TEST)
    for truth, folders in classes_in(test).items():
        chosen = spread([photo for name in folders for photo in find_photos(test / name)], SHOWN)
        answers = [mistakes.get(path.relative_to(data).as_posix(), truth) for path in chosen]
        sources = [thumbnail(path, _SIDE) for path in chosen]
        shown[truth] = [ShownPhoto(truth, *said) for said in zip(answers, sources, strict=True)]
    return shown


def _batches(sizes: Mapping[str, int]) -> Figure:
    figure, (axes,) = panels((4.6, 3.3))
    axes.bar(list(sizes), list(sizes.values()), color=BLUE)
    axes.set(xlabel="requests in a batch", ylabel="batches")
    whole_ticks(axes.yaxis, 6)
    return figure


def _load(history: Path) -> Figure:
    """Rate, and percentiles over Locust's sliding window, second by second."""
    with history.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["Name"] == "Aggregated" and r["50%"] != "N/A"]
    start = min((int(r["Timestamp"]) for r in rows), default=0)
    seconds = [int(r["Timestamp"]) - start for r in rows]
    figure, (rate, times) = panels((9, 3.3), 1, 2)
    rate.plot(seconds, [float(r["Requests/s"]) for r in rows], color=BLUE)
    rate.set(title="Requests a second", xlabel="s", ylim=(0, None))
    for percent, shade in ((50, 0.4), (95, 0.7), (99, 1)):
        values = [float(r[f"{percent}%"]) for r in rows]
        times.plot(seconds, values, label=f"p{percent}", color=BLUE, alpha=shade)
    times.set(title="Time to answer, ms", xlabel="s", ylim=(0, None))
    times.legend()
    return figure
