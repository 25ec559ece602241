"""The page that shows suspects and takes decisions: one HTML file, with its thumbnails beside it.

It needs no server: decisions stay in the browser until it hands out the table.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import simplejpeg

from report.html import write_html
from report.pictures import read_scaled
from report.progress import track
from training.data.decisions import HEADER, Suspect
from training.suspects.collect import Photos

PAGE, THUMBNAILS = "suspects.html", "thumbnails"
_SIDE, _QUALITY = 160, 80  # of a thumbnail: pixels, and JPEG's quality
_LISTED = 50_000  # lines that a page holds; the table has them all


@dataclass(frozen=True)
class Shown:
    """A photo of the page, and its nearest photos of the given and of the suggested class: places."""

    photo: int
    given: list[int]
    suggested: list[int]


def write_page(out: Path, photos: Photos, table: Sequence[Suspect], shown: Sequence[Shown]) -> None:
    """Write the page into the folder `out`; `table` is in the order of suspicion, as `shown` is."""
    numbers = sorted({i for row in shown for i in (row.photo, *row.given, *row.suggested)})
    (out / THUMBNAILS).mkdir(exist_ok=True)
    for old in (out / THUMBNAILS).glob("*.jpg"):
        old.unlink()
    with ThreadPoolExecutor() as pool:  # decoding leaves the interpreter's lock
        files = [(photos.data / photos.rows[i].path, out / THUMBNAILS / f"{i}.jpg") for i in numbers]
        for _ in track(pool.map(lambda pair: _write_thumbnail(*pair), files), "drawing", len(files)):
            pass
    split_of = {row.path: row.split for row in photos.rows}
    lines = [[*vars(line).values(), split_of[line.path]] for line in table[:_LISTED]]
    write_html(
        out / PAGE,
        "training/suspects/suspects.html.j2",
        data=str(photos.data),
        network=photos.network,
        header=HEADER,
        classes=photos.classes,
        lines=lines,
        photos=len(table),
        shown=[[row.photo, row.given, row.suggested] for row in shown],
        names={i: [photos.rows[i].path, photos.rows[i].class_name] for i in numbers},
        originals=quote(os.path.relpath(photos.data, out)) + "/",
        folder=THUMBNAILS,
    )


def _write_thumbnail(photo: Path, path: Path) -> None:
    with suppress(FileNotFoundError):  # it may be gone by now
        if (pixels := read_scaled(photo.read_bytes(), _SIDE)) is not None:
            path.write_bytes(simplejpeg.encode_jpeg(pixels, _QUALITY, colorsubsampling="420"))
