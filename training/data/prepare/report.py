"""The page that shows a prepared folder: one HTML file with everything in it.

What is counted comes from the summary, what is drawn from the rows (`charts`), the photos from the
source.
"""

import base64
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
import simplejpeg

from model.errors import PhotoError
from model.image import DEFAULT_LIMITS, decode_photo
from model.photo_files import SPLITS
from training.data.manifest import Reason, Row
from training.data.prepare import charts
from training.data.prepare.summary import Summary

SIDE = 176  # of a thumbnail, pixels; shown at half of it, so that it is sharp on dense screens
SAMPLES = 14  # photos shown of each class
SINGLES, PAIRS = 14, 9  # files shown for each reason: whole lines on a wide screen
SHOWN_CLASSES = 20  # pictures stop there; the table of classes goes on

MEANING = {
    Reason.HIDDEN: "The name starts with a dot.",
    Reason.OUTSIDE: "Beside the class folders, not in one.",
    Reason.UNOPENED: "The file can't be read, or is a pipe, a device or a broken link.",
    Reason.EMPTY: "There is nothing in the file.",
    Reason.UNSUPPORTED: "Whatever the name says, the content is no image in a supported format.",
    Reason.TOO_LARGE: "More bytes or pixels than a photo may have; refused from the header.",
    Reason.UNREADABLE: "The photo is damaged, or ends before its last line.",
    Reason.TOO_SMALL: "A side is shorter than --min-side.",
    Reason.CONFLICT: "The same photo, or nearly the same, in two class folders. Someone has to look.",
    Reason.DUPLICATE: "The same bytes as another photo.",
    Reason.NEAR: "The same picture as another photo, resized, compressed anew or brightened.",
    Reason.PRUNED: "Of a size that is rare in its class; see the clusters.",
    Reason.EXTENSION: "Kept: the content counts, not the name.",
}


def write_report(summary: Summary, rows: Sequence[Row], path: Path) -> None:
    """Write the page to `path`."""
    source = Path(summary["source"])
    classes = list(summary["classes"])[:SHOWN_CLASSES]
    template = files("training.data.prepare").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["filesize"] = _filesize
    with ThreadPoolExecutor() as pool:  # decoding leaves the interpreter's lock: charts come meanwhile
        reasons = _reasons(summary, rows, source, pool)
        samples = {name: _samples(rows, name, summary, source, pool) for name in classes}
        leaks = pool.map(partial(_leak, source), _first_leaks(summary))
        page = environment.from_string(template).render(
            summary=summary,
            shown=classes,
            charts=_charts(summary, rows, classes),
            reasons=reasons,
            samples=samples,
            leaks=list(leaks),
        )
    path.write_bytes(page.encode("utf-8", "replace"))  # a name may hold bytes that are no UTF-8


def _charts(summary: Summary, rows: Sequence[Row], classes: list[str]) -> dict[str, str]:
    return {
        "photos": charts.photos_per_class({name: summary["classes"][name] for name in classes}),
        "file_sizes": charts.file_sizes(rows, classes),
        "sides": charts.sides(rows, classes),
    }


def _reasons(
    summary: Summary, rows: Sequence[Row], source: Path, pool: Executor
) -> list[dict[str, Any]]:
    """For each reason: how many files, what it means, and some of the files."""
    found = []
    for reason in Reason:
        own = [row for row in rows if row.reason is reason]
        if own:
            limit = PAIRS if own[0].other else SINGLES
            chosen = own[:: max(1, len(own) // limit)][:limit]
            kept = all(row.kept for row in own)
            share = len(own) / max(1, summary["files"])
            found.append(
                {"name": reason, "kept": kept, "count": len(own), "share": share}
                | {"meaning": MEANING[reason], "examples": pool.map(partial(_example, source), chosen)}
            )
    return found


def _example(source: Path, row: Row) -> dict[str, Any]:
    picture = _thumbnail(source / row.path) if row.width else None
    other = _thumbnail(source / row.other) if row.other else None
    shown = {"path": row.path, "other": row.other, "detail": row.detail}
    return {**shown, "picture": picture, "other_picture": other, "instead": _instead(row, source)}


def _samples(
    rows: Sequence[Row], name: str, summary: Summary, source: Path, pool: Executor
) -> Iterable[dict[str, Any]]:
    own = [row.path for row in rows if row.kept and row.class_name == name]
    chosen = np.random.default_rng(summary["settings"]["seed"]).permutation(len(own))[:SAMPLES]
    return pool.map(lambda i: {"path": own[i], "picture": _thumbnail(source / own[i])}, sorted(chosen))


def _first_leaks(summary: Summary) -> list[dict[str, Any]]:
    """Choose those that are shown: those that remain before the others."""
    return sorted(summary["leaks"], key=lambda leak: not leak["open"])[:PAIRS]


def _leak(source: Path, leak: dict[str, Any]) -> dict[str, Any]:
    return {**leak, **{f"{side}_picture": _thumbnail(source / leak[side]) for side in SPLITS}}


def _thumbnail(path: Path) -> str | None:
    """The photo, small, as the source of an HTML image; None if it can't be shown (any more)."""
    try:
        if not path.is_file() or path.stat().st_size > DEFAULT_LIMITS.max_bytes:
            return None
        pixels = decode_photo(path.read_bytes(), at_least=SIDE)
    except (PhotoError, OSError):
        return None
    scale = min(1.0, SIDE / max(pixels.shape[:2]))
    size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]  # width, height
    way = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR  # the latter takes a tenth of the time
    small = cv2.resize(pixels, size, interpolation=way)
    jpeg = simplejpeg.encode_jpeg(small, quality=82, colorsubsampling="420")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _instead(row: Row, source: Path) -> str:
    """What is shown in place of a picture: the first bytes of a file that is none, as text."""
    if row.width:
        return "gone"
    if not row.sha256:
        return "not opened"
    if not row.bytes:
        return "0 bytes"
    try:
        with (source / row.path).open("rb") as file:
            start = file.read(24)
    except OSError:
        return "gone"
    return "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in start)


def _filesize(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
