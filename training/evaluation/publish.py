"""Writing an evaluation: figures, pictures, page and model card into a folder.

Files of these names are replaced; anything else in the folder is left alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.bundle import ModelSpec
from model.errors import FlyobjError, InputError
from model.files import write_json
from report.charts import save_png
from report.html import write_html
from report.progress import progress
from training.evaluation.card import render_card
from training.evaluation.charts import charts_of
from training.evaluation.evaluate import Evaluation
from training.evaluation.gallery import Gallery, draw_mistakes, picture_mistakes
from training.evaluation.history import History
from training.evaluation.target import Target

FIGURES, PAGE, CARD = "evaluation.json", "report.html", "MODEL_CARD.md"
CHARTS = ("per_class", "confusion", "reliability", "out_of_distribution", "curves", "range_tests")
OWN = (FIGURES, PAGE, CARD, *(f"{name}.png" for name in (*CHARTS, "mistakes")))

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
    ("95 %", "val_accuracy_95", lambda v: f"{v[0]:.2f} to {v[1]:.2f}", "n"),
    ("photos/s", "photos_per_s", "{:.0f}".format, "n"),
    ("time", "seconds", "{:.0f} s".format, "n"),
)


def check_folder(out: Path, force: bool) -> None:
    """Refuse a folder that holds something, unless it is to be written over.

    Raises:
        InputError: it isn't empty and `force` is false, or it is no folder.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{str(out)!r} is a file; name a folder")
    if not force and out.is_dir() and any(out.iterdir()):
        raise InputError(
            f"{str(out)!r} exists already; name another folder, or give --force to replace the "
            "evaluation in it"
        )


def publish(
    result: Evaluation,
    target: Target,
    history: History,
    out: Path,
    *,
    title: str,
    data: Path,
    licence: str = "unknown",
) -> Sequence[Path]:
    """Write everything into `out` and return the files.

    Args:
        result: of `target`.
        target: is asked where it looked.
        history: of its training.
        out: folder, made where it is missing.
        title: of page and card.
        data: folder that was evaluated on.
        licence: of the model, as Hugging Face names licences.
    """
    with progress("drawing the report"):
        gallery = picture_mistakes(target, result.mistakes, data)
        charts = charts_of(result, history)
        page = {"title": title, **_page(result, history, target.spec, gallery)}
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name in OWN:
                (out / name).unlink(missing_ok=True)
            write_json(asdict(result), out / FIGURES)
            for chart in charts:
                save_png(chart.figure, out / f"{chart.name}.png")
            if gallery.most_confident:
                save_png(draw_mistakes(gallery), out / "mistakes.png")
            write_html(out / PAGE, "training/evaluation/report.html.j2", charts, **page)
            if target.spec:
                card = render_card(title, data.resolve().name, result, history, target.spec, licence)
                (out / CARD).write_text(card, encoding="utf-8")
        except OSError as error:
            raise FlyobjError(
                f"{str(out)!r} can't be written ({error.strerror or error}); make room or name another "
                "folder, and start again"
            ) from error
    return [out / name for name in OWN if (out / name).exists()]


def _page(
    result: Evaluation, history: History, spec: ModelSpec | None, gallery: Gallery
) -> dict[str, Any]:
    """What the page's template shows."""
    rows = [stage.facts for stage in history.stages]
    return {
        "evaluation": result,
        "history": history,
        "columns": [c for c in COLUMNS if any(row.get(c[1]) is not None for row in rows)],
        "gallery": gallery,
        "explained": any(picture.heat is not None for picture in gallery.most_confident),
        "origin": _origin(result, history, spec),
    }


def _origin(result: Evaluation, history: History, spec: ModelSpec | None) -> dict[str, str]:
    """Where the figures come from, for the end of the page."""
    facts = {"evaluated": result.target}
    if spec:
        size = spec.preprocessing.size
        facts |= {
            "classes": ", ".join(spec.classes),
            "input": f"{size} x {size} pixels",
            "precision": spec.precision,
            "trained": spec.created,
            "code": spec.code_version,
            "training data": f"SHA-256 {spec.data_fingerprint}",
        }
    if history.run:
        counts = history.run.get("photos", {})
        facts["trained on"] = ", ".join(f"{n} {name} photos" for name, n in counts.items())
        given = {name: value for name, value in history.settings.items() if value is not None}
        facts["settings"] = ", ".join(f"{name} {value}" for name, value in given.items())
    return {name: value for name, value in facts.items() if value}
