"""The page that shows a prepared folder: one HTML file with everything in it.

What is counted comes from the summary, what is drawn from the rows (`charts`), the photos from the
source.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from report.html import write_html
from report.pictures import thumbnail
from training.data.manifest import Reason, Row
from training.data.prepare.charts import charts_of
from training.data.prepare.summary import Summary

SIDE = 176  # of a thumbnail, pixels; shown at half of it, so that it is sharp on dense screens
SAMPLES = 14  # photos shown of each class
SINGLES, PAIRS = 14, 9  # files shown for each reason: whole lines on a wide screen
SHOWN_CLASSES = 20  # pictures stop there; the table of classes goes on

MEANING = {
    Reason.HIDDEN: "The name starts with a dot, or is one that systems leave beside photos: Thumbs.db.",
    Reason.OUTSIDE: "Next to the class folders, not in one.",
    Reason.UNOPENED: "The file can't be read, or is a pipe, a device or a broken link.",
    Reason.EMPTY: "The file is empty.",
    Reason.UNSUPPORTED: "Whatever the name says, the content is no image in a supported format.",
    Reason.TOO_LARGE: "More bytes or pixels than a photo may have; refused from the header.",
    Reason.UNREADABLE: "The photo is damaged, or ends before its last line.",
    Reason.TOO_SMALL: "A side is shorter than --min-side.",
    Reason.DECIDED: "Someone has looked at it and found that it belongs to none of the classes.",
    Reason.CONFLICT: "The same photo, or nearly the same, in two class folders. Someone has to look.",
    Reason.DUPLICATE: "The same bytes as another photo.",
    Reason.NEAR: "The same picture as another photo, resized, recompressed or brightened.",
    Reason.PRUNED: "Rare and small in its class: a thumbnail, a banner, a placeholder.",
    Reason.EXTENSION: "Kept: the content counts, not the name.",
}


def write_report(summary: Summary, rows: Sequence[Row], path: Path) -> None:
    """Write the page to `path`."""
    source = Path(summary["source"])
    counts = dict(list(summary["classes"].items())[:SHOWN_CLASSES])
    samples = {name: _samples(rows, name, summary["settings"]["seed"]) for name in counts}
    reasons = [_reason(reason, own) for reason in Reason if (own := _of(rows, reason))]
    leaks = sorted(summary["leaks"], key=lambda leak: not leak["open"])[:PAIRS]
    names = {name for shown in samples.values() for name in shown}
    names |= {leak[side] for leak in leaks for side in ("train", "test")}
    for row in (row for reason in reasons for row in reason["examples"]):
        names |= {name for name in (row.path if row.width else "", row.other) if name}
    with ThreadPoolExecutor() as pool:  # decoding leaves the interpreter's lock: charts come meanwhile
        thumbnails = pool.map(lambda name: thumbnail(source / name, SIDE), names)
        charts = charts_of(counts, rows, summary["elbows"])
    write_html(
        path,
        "training/data/prepare/report.html.j2",
        charts,
        summary=summary,
        samples=samples,
        reasons=reasons,
        leaks=leaks,
        thumbnails=dict(zip(names, thumbnails, strict=True)),
        instead=partial(_instead, source),
    )


def _of(rows: Sequence[Row], reason: Reason) -> list[Row]:
    return [row for row in rows if row.reason is reason]


def _reason(reason: Reason, rows: Sequence[Row]) -> dict[str, Any]:
    """How many files, what it means, and some of the files."""
    limit = PAIRS if rows[0].other else SINGLES
    examples = rows[:: max(1, len(rows) // limit)][:limit]
    kept = all(row.kept for row in rows)
    facts = {"name": reason, "meaning": MEANING[reason], "kept": kept, "count": len(rows)}
    return {**facts, "examples": examples}


def _samples(rows: Sequence[Row], name: str, seed: int) -> list[str]:
    own = [row.path for row in rows if row.kept and row.class_name == name]
    return [own[i] for i in sorted(np.random.default_rng(seed).permutation(len(own))[:SAMPLES])]


def _instead(source: Path, row: Row) -> str:
    """What is shown in place of a picture: the first bytes of one that isn't a photo, as text."""
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
