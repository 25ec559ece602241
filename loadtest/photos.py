"""The photos that are sent: one's own, or drawn on the spot."""

import io
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

from model.layout import read_layout, split_named
from model.photo_files import find_photos, spread

MAX_PHOTOS = 200  # kept in memory, evenly spread over the folder

# Width and height in pixels, and how many of each are drawn: thumbnails, what a page shows, a camera's.
# A guess; --photos has the true mix.
SIZES = ((320, 240, 4), (640, 480, 10), (1024, 768, 6), (1920, 1080, 4))
_QUALITY = 90
_GRAIN = 5  # standard deviation of the noise; bytes then come to those of a camera's JPEG


@dataclass(frozen=True)
class Photos:
    """Photos as files' bytes, and the names of their classes as far as folders say.

    `labelled` if those are classes for certain: of a data set, or of a split of one.
    """

    files: tuple[bytes, ...]
    classes: frozenset[str] = frozenset()
    labelled: bool = False


def photos_to_send(folder: Path | None) -> Photos:
    """Read the photos under `folder`, a data set or class folders; draw some if there is no folder.

    Raises:
        InputError: the folder has none.
    """
    if folder is None:
        return _drawn()
    found = find_photos(folder)
    layout = read_layout(folder)
    places = (layout.place(path.relative_to(folder).as_posix()) for path in found)
    classes = frozenset(place[1] for place in places if place)
    files = tuple(path.read_bytes() for path in spread(found, MAX_PHOTOS))
    labelled = bool(layout.splits or split_named(folder.resolve().name))
    return Photos(files, classes, labelled)


def _drawn() -> Photos:
    rng = random.Random(0)
    return Photos(tuple(_draw(rng, w, h) for w, h, count in SIZES for _ in range(count)))


def _draw(rng: random.Random, width: int, height: int) -> bytes:
    """Draw a JPEG: a soft ground, some shapes, a sensor's grain."""
    ground = Image.frombytes("RGB", (8, 6), rng.randbytes(8 * 6 * 3))
    photo = ground.resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(photo)
    for _ in range(12):
        x, y, side = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.02, 0.2) * width
        pen.ellipse((x, y, x + side, y + side / 2), fill=tuple(rng.randbytes(3)))
    grain = Image.effect_noise((width, height), _GRAIN)  # around 128
    photo = ImageChops.add(photo, Image.merge("RGB", [grain] * 3), 1, -128)
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
