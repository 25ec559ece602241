"""Answers as HTML and as CSV.

Everything is in the HTML itself, pictures as data URLs too, so that nothing of a photo is written to
disk for it. Autoescaped: class names and file names may hold anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.pictures import Heatmap, overlay
from report.html import macros
from report.pictures import data_url, jpeg_url, read_scaled
from report.tables import csv_text
from serving.page.backend import Answer, Failure, State

_SIDE = 448  # pixels of a shown photo's longer side; twice that of a phone's column
_THUMBNAIL = 96

Reply = Answer | Failure

HINT = (
    '<p class="hint">The answer appears here: give a photo, or try an example. Programs ask the server '
    "itself, with the key that <code>flyobj token</code> prints.</p>"
)


@dataclass(frozen=True)
class Row:
    """One photo of several."""

    name: str  # of its file
    thumbnail: str | None  # data URL, or None if it can't be shown
    replies: Sequence[Reply]  # of the versions that were asked

    @property
    def differs(self) -> bool:
        """Whether the versions call it differently."""
        return _differ(self.replies)


def state(known: State) -> str:
    """What keeps photos from being answered; empty if nothing does."""
    return _part("state", known)


def verdict(replies: Sequence[Reply]) -> str:
    """The answer in a sentence."""
    failed = [r for r in replies if isinstance(r, Failure)]
    return _part("verdict", replies, failed, _differ(replies))


def cards(replies: Sequence[Reply]) -> str:
    """Each version's classes as bars, and its times."""
    answers = [r for r in replies if isinstance(r, Answer)]
    return _part("cards", answers)


def pictures(photo: bytes, versions: Sequence[str], heat: Mapping[str, Heatmap | None]) -> str:
    """The photo, and beside it where each version looked; one not in `heat` yet has an empty frame."""
    pixels = read_scaled(photo, _SIDE)
    if pixels is None:
        return ""
    laid = {v: jpeg_url(overlay(pixels, h)) for v, h in heat.items() if h is not None}
    frames = [(v, laid.get(v), v not in heat) for v in versions]
    height, width = pixels.shape[:2]
    return _part("pictures", jpeg_url(pixels), width, height, frames)


def table(rows: Sequence[Row]) -> str:
    """Several photos, with a link that saves them as CSV."""
    versions = [r.version for r in rows[0].replies] if rows else []
    document = data_url(as_csv(rows).encode(), "text/csv;charset=utf-8")
    return _part("table", rows, versions, sum(row.differs for row in rows), document)


def as_csv(rows: Sequence[Row]) -> str:
    """A line for each photo and version, with a column for each class."""
    answers = [r for row in rows for r in row.replies if isinstance(r, Answer)]
    classes = sorted({name for answer in answers for name, _ in answer.probabilities})
    header = ["photo", "version", "predicted", "confidence", "took_ms", "error", *classes]
    return csv_text(header, [[r.name, *_cells(reply, classes)] for r in rows for reply in r.replies])


def row(name: str, photo: bytes, replies: Sequence[Reply]) -> Row:
    """A photo of several, with a small picture of it."""
    pixels = read_scaled(photo, _THUMBNAIL)
    return Row(name, None if pixels is None else jpeg_url(pixels), replies)


def _differ(replies: Sequence[Reply]) -> bool:
    return len({r.predicted for r in replies if isinstance(r, Answer)}) > 1


def _cells(reply: Reply, classes: Sequence[str]) -> list[object]:
    if isinstance(reply, Failure):
        return [reply.version, "", "", "", reply.message, *("" for _ in classes)]
    of = dict(reply.probabilities)
    confidence = reply.probabilities[0][1]
    each = [round(of[name], 6) if name in of else "" for name in classes]
    return [reply.version, reply.predicted, round(confidence, 6), round(reply.took_ms, 1), "", *each]


def _part(name: str, *values: object) -> str:
    return str(getattr(macros("serving/page/parts.html.j2"), name)(*values)).strip()
