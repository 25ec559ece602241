"""Writing an evaluation: figures, pictures, page and model card into a folder.

Files of these names are replaced; anything else in the folder is left alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import get_console

from model.errors import FlyobjError, InputError
from model.files import write_json
from report.charts import save_png
from training.evaluation.card import render_card
from training.evaluation.charts import charts_of
from training.evaluation.evaluate import Evaluation
from training.evaluation.gallery import draw_mistakes, picture_mistakes
from training.evaluation.history import History, read_history
from training.evaluation.report import render_report
from training.evaluation.target import Target

FIGURES, PAGE, CARD = "evaluation.json", "report.html", "MODEL_CARD.md"
CHARTS = ("per_class", "confusion", "reliability", "curves", "range_tests", "mistakes")
OWN = (FIGURES, PAGE, CARD, *(f"{name}.png" for name in CHARTS))


@dataclass(frozen=True)
class About:
    """What an evaluation is published with.

    Attributes:
        title: of the page and the card.
        data: the folder that was evaluated on.
        run: the run's folder, for its training; None without one.
        licence: of the model, as Hugging Face names licences.
    """

    title: str
    data: Path
    run: Path | None
    licence: str = "unknown"


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


def publish(result: Evaluation, target: Target, about: About, out: Path) -> Sequence[Path]:
    """Write everything into `out` and return the files."""
    history = read_history(about.run) if about.run else History()
    with get_console().status("drawing the report"):
        gallery = picture_mistakes(target, result.mistakes, about.data)
        charts = charts_of(result, history)
        page = render_report(about.title, result, history, target.spec, charts, gallery)
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name in OWN:
                (out / name).unlink(missing_ok=True)
            write_json(asdict(result), out / FIGURES)
            for chart in charts:
                save_png(chart.figure, out / f"{chart.name}.png")
            if gallery:
                save_png(draw_mistakes(gallery), out / "mistakes.png")
            (out / PAGE).write_bytes(page.encode("utf-8", "replace"))
            if target.spec:
                args = (about.title, about.data.resolve().name, result, history, target.spec)
                (out / CARD).write_text(render_card(*args, about.licence), encoding="utf-8")
        except OSError as error:
            raise FlyobjError(
                f"{str(out)!r} can't be written ({error.strerror or error}); make room or name another "
                "folder, and start again"
            ) from error
    return [out / name for name in OWN if (out / name).exists()]
