"""The page that shows an evaluation: one HTML file with everything in it, light or dark."""

from collections.abc import Callable, Sequence
from typing import Any

from model.bundle import ModelSpec
from report.charts import Chart
from report.html import render
from training.evaluation.evaluate import Evaluation
from training.evaluation.gallery import Picture
from training.evaluation.history import History

# The table of stages: title, key, form, and CSS class: a number, a word, or a text that needs room.
COLUMNS: tuple[tuple[str, str, Callable[[Any], str], str], ...] = (
    ("why", "why", str, "text"),
    ("trainable blocks", "trainable_blocks", str, "n"),
    ("pixels", "size", str, "n"),
    ("learning rate", "lr", "{:.2g}".format, "n"),
    ("chosen by", "lr_from", str, "word"),
    ("epochs", "epochs", str, "n"),
    ("best epoch", "best_epoch", lambda v: str(v + 1), "n"),
    ("validation accuracy", "val_accuracy", "{:.3f}".format, "n"),
    ("photos/s", "photos_per_s", "{:.0f}".format, "n"),
    ("time", "seconds", "{:.0f} s".format, "n"),
)


def render_report(
    title: str,
    result: Evaluation,
    history: History,
    spec: ModelSpec | None,
    charts: Sequence[Chart],
    gallery: Sequence[Picture],
) -> str:
    """Return the page."""
    used = [c for c in COLUMNS if any(s.facts.get(c[1]) is not None for s in history.stages)]
    return render(
        "training/evaluation/report.html.j2",
        charts,
        title=title,
        evaluation=result,
        history=history,
        columns=used,
        gallery=gallery,
        explained=any(picture.heat is not None for picture in gallery),
        origin=_origin(result, history, spec),
    )


def _origin(result: Evaluation, history: History, spec: ModelSpec | None) -> dict[str, str]:
    """Where the figures come from, for the end of the page."""
    facts = {"evaluated": result.target}
    if spec:
        size = spec.preprocessing.size
        facts |= {
            "classes": ", ".join(spec.classes),
            "input": f"{size} x {size} pixels",
            "trained": spec.created,
            "code": spec.code_version,
            "training data": f"SHA-256 {spec.data_fingerprint}",
        }
    if history.run:
        counts = history.run.get("photos", {})
        facts["trained on"] = ", ".join(f"{n} {name} photos" for name, n in counts.items())
        settings = history.run.get("settings", {})
        facts["settings"] = ", ".join(f"{k} {v}" for k, v in settings.items() if v is not None)
    return {name: value for name, value in facts.items() if value}
