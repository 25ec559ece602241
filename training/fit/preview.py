"""A picture of what training sees: originals, and the same photos augmented."""

from pathlib import Path

import numpy as np

from model.errors import InputError
from model.image import decode_photo
from model.limits import RGB
from model.preprocessing import Preprocessing
from report.charts import panels, save_png, short
from report.progress import track
from training.data.photos import Photo, Split, read_split
from training.fit.settings import AUGMENTATIONS
from training.fit.transforms import before_crop, test_transform, train_transform

PER_CLASS, SAMPLES = 2, 7
MAX_ROWS = 24
_CELL_INCHES = 1.1


def preview(data: Path, out: Path, size: int, seed: int, augment: str = "mild") -> int:
    """Draw photos of each class of `data/train`, each beside augmented samples, into `out`.

    The first column shows the photo as the network sees it when it is evaluated. Returns the number of
    photos drawn.

    Raises:
        InputError: `out` exists, or isn't a picture's name, or there are no photos, or `augment` is
            the name of no augmentation.
    """
    if augment not in AUGMENTATIONS:
        raise InputError(f"augment {augment!r} must be one of {', '.join(AUGMENTATIONS)}")
    if out.exists():
        raise InputError(f"{str(out)!r} exists already; give another name or remove it")
    if out.suffix.lower() != ".png" or not out.parent.is_dir():
        raise InputError(f"{str(out)!r} must be a .png file in a folder that exists")
    preprocessing = Preprocessing(size)
    split = read_split(data, "train")
    chosen = _choose(split, seed)
    plain, change = test_transform(preprocessing), train_transform(preprocessing, augment)
    rows = []
    for number, photo in enumerate(track(chosen, "augmenting")):
        rgb = decode_photo(photo.path.read_bytes(), at_least=before_crop(preprocessing))
        seeds = [seed * 100_003 + number * SAMPLES + i for i in range(SAMPLES)]
        rows.append([plain(rgb, 0), *(change(rgb, s) for s in seeds)])
    _draw(rows, [split.classes[photo.label] for photo in chosen], out)
    return len(chosen)


def _choose(split: Split, seed: int) -> list[Photo]:
    rng = np.random.default_rng(seed)
    chosen: list[Photo] = []
    for label in range(len(split.classes)):
        own = [photo for photo in split.photos if photo.label == label]
        chosen += [own[i] for i in sorted(rng.permutation(len(own))[:PER_CLASS])]
    return chosen[:MAX_ROWS]


def _draw(rows: list[list[RGB]], names: list[str], out: Path) -> None:
    width, height = (SAMPLES + 1) * _CELL_INCHES + 1.2, len(rows) * _CELL_INCHES + 0.4
    figure, grid = panels((width, height), len(rows), SAMPLES + 1)
    for axes, rgb in zip(grid, (rgb for cells in rows for rgb in cells), strict=True):
        axes.imshow(rgb)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for axes, name in zip(grid[:: SAMPLES + 1], names, strict=True):
        axes.set_ylabel(short(name).replace(" ", "\n", 1), fontsize=8)
    grid[0].set_title("as evaluated", fontsize=8)
    grid[1].set_title("as trained on", fontsize=8)
    save_png(figure, out)
