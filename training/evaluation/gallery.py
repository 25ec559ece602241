"""The mistakes to look at: each photo, and beside it where the network looked."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from model.image import decode_photo
from model.limits import RGB
from report.charts import Figure, panels, short
from report.pictures import jpeg_url, scale_to_fit
from training.evaluation.answers import BATCH
from training.evaluation.evaluate import Mistake
from training.evaluation.target import Target

SHOWN = 24  # the most confident of all
OF_EACH = 10  # of each class beside them
CLASSES = 12  # of more, only the most confident of all are shown
DRAWN = 12  # of these, in the PNG
_SIDE, _GAP = 224, 6  # pixels: of the longer side, between photo and heat map


@dataclass(frozen=True)
class Picture:
    """A mistake with its photo and, where the target explains itself, the photo under its heat map."""

    mistake: Mistake
    photo: RGB
    heat: RGB | None

    def sources(self) -> list[str]:
        """Sources of its HTML images."""
        return [jpeg_url(pixels) for pixels in (self.photo, self.heat) if pixels is not None]


@dataclass(frozen=True)
class Gallery:
    """The most confident of all mistakes, and those of each class where these aren't all."""

    most_confident: tuple[Picture, ...]
    by_class: dict[str, tuple[Picture, ...]]


def picture_mistakes(target: Target, mistakes: Sequence[Mistake], data: Path) -> Gallery:
    """Ask `target` where it looked in mistakes, the most confident first, of photos in `data`."""
    names = sorted({mistake.truth for mistake in mistakes})
    by_class = {name: [m for m in mistakes if m.truth == name][:OF_EACH] for name in names}
    if len(mistakes) <= SHOWN or len(names) > CLASSES:
        by_class = {}
    shown = dict.fromkeys((*mistakes[:SHOWN], *(m for own in by_class.values() for m in own)))
    pictures = dict(zip(shown, _pictures(target, list(shown), data), strict=True))
    return Gallery(
        tuple(pictures[mistake] for mistake in mistakes[:SHOWN]),
        {name: tuple(pictures[mistake] for mistake in own) for name, own in by_class.items()},
    )


def _pictures(target: Target, shown: Sequence[Mistake], data: Path) -> list[Picture]:
    found = []
    for start in range(0, len(shown), BATCH):
        batch = shown[start : start + BATCH]
        contents = [(data / mistake.file).read_bytes() for mistake in batch]
        replies = target.answer(contents, explain=True)
        for mistake, content, reply in zip(batch, contents, replies, strict=True):
            photo = scale_to_fit(decode_photo(content), _SIDE)
            overlay = reply.get("explanation", {}).get("overlay_png")
            heat = None
            if overlay:  # the network's square, in the photo's own proportions again
                square = decode_photo(base64.b64decode(overlay))
                heat = np.asarray(cv2.resize(square, photo.shape[1::-1]), np.uint8)
            found.append(Picture(mistake, photo, heat))
    return found


def draw_mistakes(gallery: Gallery) -> Figure:
    """Draw the `DRAWN` most confident as one picture."""
    shown = gallery.most_confident[:DRAWN]
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure, grid = panels((3.6 * columns, 2.25 * lines), lines, columns, len(shown))
    for axes, picture in zip(grid, shown, strict=True):
        parts = [p for p in (picture.photo, picture.heat) if p is not None]
        axes.imshow(np.concatenate([_square(part) for part in parts], axis=1)[:, :-_GAP])
        wrong = f"{short(picture.mistake.truth)}, taken for {short(picture.mistake.predicted)}"
        axes.set_title(f"{wrong}\n{picture.mistake.confidence:.1%}", fontsize=8.5, pad=4)
        axes.axis("off")
    return figure


def _square(pixels: RGB) -> RGB:
    """Centre a photo on a white square of `_SIDE`, with a gap on its right."""
    canvas = np.full((_SIDE, _SIDE + _GAP, 3), 255, np.uint8)
    height, width = pixels.shape[:2]
    top, left = (_SIDE - height) // 2, (_SIDE - width) // 2
    canvas[top : top + height, left : left + width] = pixels
    return canvas
