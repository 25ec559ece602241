"""Labelled photos in ImageFolder layout: `SPLIT/CLASS/**/FILE`, read, checked and split.

Every file is decoded once before training, so that a damaged one is named now and not in the middle
of an epoch. What is left out is returned, with the reason.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from model.errors import InputError, PhotoError
from model.image import RGB, decode_photo
from training.prepare.manifest import SPLITS


@dataclass(frozen=True)
class Photo:
    """One labelled photo; `label` is an index into the classes."""

    path: Path
    label: int


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Split:
    """The readable photos of one split, sorted by path."""

    classes: tuple[str, ...]
    photos: tuple[Photo, ...]
    skipped: tuple[Skipped, ...]
    fingerprint: str  # SHA-256 over every photo's relative path and content


def read_split(data: Path, split: str) -> Split:
    """Read and check `data/split`.

    Raises:
        InputError: there is no such folder, fewer than two classes, or a class without a readable photo.
    """
    folder = data / split
    classes = _class_folders(data, folder)
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((folder / name).rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    ]
    with ThreadPoolExecutor() as pool:  # decoding and hashing leave the interpreter's lock
        checks = track(
            pool.map(_check, [file for file, _ in files]), f"checking {split}", total=len(files)
        )
        results = list(checks)
    photos, skipped, digest = [], [], hashlib.sha256()
    for (file, label), (content, reason) in zip(files, results, strict=True):
        if reason:
            skipped.append(Skipped(file, reason))
            continue
        photos.append(Photo(file, label))
        name = os.fsencode(file.relative_to(folder))  # it may be no UTF-8
        digest.update(name + f"\0{content}\n".encode())
    _require_photos(folder, classes, photos, skipped)
    return Split(classes, tuple(photos), tuple(skipped), digest.hexdigest())


def hold_out(
    photos: Sequence[Photo], share: float, seed: int
) -> tuple[tuple[Photo, ...], tuple[Photo, ...]]:
    """Part `photos` into the rest and a validation set with about `share` of each class."""
    rng = np.random.default_rng(seed)
    rest: list[Photo] = []
    held: list[Photo] = []
    for label in sorted({p.label for p in photos}):
        own = [p for p in photos if p.label == label]
        if len(own) < 2:
            raise InputError(
                f"class folder {str(own[0].path.parent)!r} has 1 readable photo, at least 2 are "
                "needed (one to train on, one to validate on); add photos"
            )
        shuffled = [own[i] for i in rng.permutation(len(own))]
        n = min(max(1, round(share * len(own))), len(own) - 1)
        held += shuffled[:n]
        rest += shuffled[n:]
    return tuple(rest), tuple(held)


class PhotoDataset(Dataset[tuple[Tensor, int]]):
    """What the data loaders read: (3, S, S) float32 tensors and labels."""

    def __init__(self, photos: Sequence[Photo], transform: Callable[[RGB, int], Tensor]) -> None:
        """Take `transform` from `training.transforms`; it also gets a seed for each call."""
        self._photos = photos
        self._transform = transform

    def __len__(self) -> int:
        """Count the photos."""
        return len(self._photos)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Decode and transform one photo; seeded by the epoch's own base seed and the index."""
        photo = self._photos[index]
        seed = int(torch.randint(2**31, ()))
        return self._transform(decode_photo(photo.path.read_bytes()), seed), photo.label


def _class_folders(data: Path, folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise InputError(
            f"{str(folder)!r}: no such folder; {str(data)!r} must hold one photo folder a class "
            f"under each of {', '.join(SPLITS)}: {str(folder / 'CLASS' / 'photo.jpg')!r}"
        )
    classes = tuple(
        sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    )
    if len(classes) < 2:
        raise InputError(
            f"{str(folder)!r} has {len(classes)} class folder(s) {list(classes)}, at least 2 are "
            "needed; put each class's photos into a folder of its own"
        )
    return classes


def _check(file: Path) -> tuple[str, str]:
    """Return the content's SHA-256 and an empty reason, or the reason to leave the file out."""
    try:
        content = file.read_bytes()
        decode_photo(content)
    except (PhotoError, OSError) as error:
        return "", str(error)
    return hashlib.sha256(content).hexdigest(), ""


def _require_photos(
    folder: Path, classes: tuple[str, ...], photos: list[Photo], skipped: list[Skipped]
) -> None:
    filled = {p.label for p in photos}
    for label, name in enumerate(classes):
        if label not in filled:
            own = [s for s in skipped if s.path.is_relative_to(folder / name)]
            why = f"; {own[0].path.name!r}: {own[0].reason}" if own else ""
            raise InputError(
                f"class folder {str(folder / name)!r} has no readable photo ({len(own)} file(s) can't "
                f"be used{why}); add photos or remove the folder"
            )
