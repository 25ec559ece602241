"""The demo's page: one self-contained HTML file with the figures and the pictures."""

import base64
import csv
import html
import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image, ImageOps

from model.files import read_json

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1c2733; background: #fff }
h1 { font-size: 1.6rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.photos { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: 0; width: 13rem }
figure img { width: 100%; height: 9rem; object-fit: contain; background: #eef2f6 }
.right { color: #17703c } .wrong { color: #b3261e }
table { border-collapse: collapse } td, th { padding: .2rem 1rem .2rem 0; text-align: left }
img { max-width: 100% }
"""


def write_report(summary: dict[str, Any], data: Path, run: Path, out: Path) -> None:
    """Write `out/report.html`."""
    load, (low, high) = summary["loadtest"], summary["accuracy_95"]
    figures = {
        "Test accuracy": f"{summary['accuracy']:.1%} (95 %: {low:.1%} to {high:.1%})",
        "Default version": summary["default_version"],
        "Load": f"{load['requests']} requests by {load['users']} users, {load['failures']} failed",
        "Rate": f"{load['rps']} requests/s",
        "Time to answer": f"p50 {load['p50_ms']:.0f} ms, p99 {load['p99_ms']:.0f} ms",
        "Memory": f"{sum(summary['memory_mib'].values()):.0f} MiB, Java and four workers",
    }
    rows = "".join(f"<tr><th>{k}</th><td>{html.escape(v)}</td></tr>" for k, v in figures.items())
    sections = [
        f"<table>{rows}</table><p>Photos from {html.escape(str(data))}.</p>",
        "<h2>One photo of each class, answered over HTTP</h2>",
        f"<div class=photos>{''.join(map(_photo, summary['predictions']))}</div>",
        "<h2>Answers on the test photos</h2>",
        _png((run / "evaluation" / "confusion.png").read_bytes(), "confusion matrix"),
        f"<h2>Training</h2>{_figure(_training(run), 'loss and accuracy by epoch')}",
        "<h2>Batches that formed</h2>" + _figure(_batches(summary["batch_sizes"]), "batch sizes"),
        f"<h2>Load</h2>{_figure(_load(out / 'load_stats_history.csv'), 'rate and time to answer')}",
    ]
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'><title>flying-objects demo</title>"
        f"<style>{_STYLE}</style><h1>flying-objects: from photos to a served model</h1>"
        f"{''.join(sections)}</html>\n"
    )
    (out / "report.html").write_text(page, encoding="utf-8")


def _photo(prediction: dict[str, Any]) -> str:
    path = Path(prediction["photo"])
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
        upright.thumbnail((416, 416))
        stream = io.BytesIO()
        upright.save(stream, "JPEG", quality=85)
    truth, answer = path.parent.name, prediction["predicted"]
    kind = "right" if truth == answer else "wrong"
    return (
        f"<figure><img alt='{html.escape(truth)}' src='data:image/jpeg;base64,"
        f"{base64.b64encode(stream.getvalue()).decode()}'><figcaption>{html.escape(truth)}<br>"
        f"<b class={kind}>{html.escape(answer)}</b> {prediction['confidence']:.1%}</figcaption></figure>"
    )


def _png(content: bytes, alt: str) -> str:
    return f"<img alt='{alt}' src='data:image/png;base64,{base64.b64encode(content).decode()}'>"


def _figure(figure: Figure, alt: str) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return _png(stream.getvalue(), alt)


def _training(run: Path) -> Figure:
    """Loss and validation accuracy over all stages' epochs, from the CSV logs."""
    epochs: list[dict[str, float]] = []
    for result in read_json(run / "run.json")["stages"]:
        log = run / "logs" / "csv" / result["stage"]["name"] / "metrics.csv"
        rows: dict[str, dict[str, float]] = {}
        with log.open(newline="") as file:
            for row in csv.DictReader(file):
                filled = {k: float(v) for k, v in row.items() if v}
                rows.setdefault(row["epoch"], {}).update(filled)
        epochs += rows.values()
    figure = Figure(figsize=(8, 3), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    numbers = range(1, len(epochs) + 1)
    losses.plot(numbers, [e["train_loss"] for e in epochs], label="train")
    losses.plot(numbers, [e["val_loss"] for e in epochs], label="validation")
    losses.set(xlabel="epoch", ylabel="negative log-likelihood")
    losses.legend()
    accuracies.plot(numbers, [e["val_accuracy"] for e in epochs], color="tab:orange")
    accuracies.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1.02))
    return figure


def _batches(sizes: dict[str, int]) -> Figure:
    figure = Figure(figsize=(4, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.bar(list(sizes), list(sizes.values()))
    axes.set(xlabel="requests in a batch", ylabel="batches")
    return figure


def _load(history: Path) -> Figure:
    """Rate, and percentiles over Locust's sliding window, second by second."""
    with history.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["Name"] == "Aggregated" and r["50%"] != "N/A"]
    start = min((int(r["Timestamp"]) for r in rows), default=0)
    seconds = [int(r["Timestamp"]) - start for r in rows]
    figure = Figure(figsize=(8, 3), layout="constrained")
    rate, times = figure.subplots(1, 2)
    rate.plot(seconds, [float(r["Requests/s"]) for r in rows])
    rate.set(xlabel="s", ylabel="requests/s", ylim=(0, None))
    for percentile in ("50%", "95%", "99%"):
        times.plot(seconds, [float(r[percentile]) for r in rows], label=f"p{percentile[:-1]}")
    times.set(xlabel="s", ylabel="ms to answer", ylim=(0, None))
    times.legend()
    return figure
