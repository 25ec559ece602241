"""Labelled photos in ImageFolder layout: `SPLIT/CLASS/**/FILE`, read, checked and split.

Every file is decoded once before training, so that a damaged one is named now and not in the middle
of an epoch. What is left out is returned, with the reason.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np

from model.errors import InputError, PhotoError
from model.image import decode_photo
from model.photo_files import SPLITS, find_files, folders_in
from report.progress import say, track
from training.data.manifest import NAME, Reason, read_manifest, reason_for
from training.data.prepare.folder import target
from training.data.prepare.settings import PrepareSettings
from training.data.split import Indices, choose, number


@dataclass(frozen=True)
class Photo:
    """One labelled photo; `label` is an index into the classes."""

    path: Path
    label: int


@dataclass(frozen=True)
class SkippedPhoto:
    """A file that was left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Split:
    """The readable photos of one split, sorted by path."""

    classes: tuple[str, ...]
    photos: tuple[Photo, ...]
    skipped: tuple[SkippedPhoto, ...]
    fingerprint: str  # SHA-256 over every photo's relative path and content


def read_split(data: Path, split: str) -> Split:
    """Read and check `data/split`.

    Raises:
        InputError: there is no such folder, fewer than two classes, or a class without a readable photo.
    """
    folder = data / split
    classes = _class_folders(data, folder)
    found = find_files(folder)
    labels = {name: label for label, name in enumerate(classes)}
    files = [(folder / p, labels[p.partition("/")[0]]) for p in found.files if "/" in p]
    left_out = {p: str(Reason.OUTSIDE) for p in found.files if "/" not in p} | found.skipped
    results = check_photos([file for file, _ in files], f"checking {split}")
    photos, skipped, digest = [], [], hashlib.sha256()
    for (file, label), (content, reason) in zip(files, results, strict=True):
        if reason:
            skipped.append(SkippedPhoto(file, reason))
            continue
        photos.append(Photo(file, label))
        name = os.fsencode(file.relative_to(folder))  # it may be no UTF-8
        digest.update(name + f"\0{content}\n".encode())
    skipped += [SkippedPhoto(folder / path, reason) for path, reason in left_out.items()]
    _require_photos(folder, classes, photos, skipped)
    return Split(classes, tuple(photos), tuple(skipped), digest.hexdigest())


def check_photos(files: Sequence[Path], what: str) -> list[tuple[str, str]]:
    """Decode each file: its content's SHA-256 and "", or "" and the reason to leave it out.

    How many are left out, and why, is said.
    """
    with ThreadPoolExecutor() as pool:  # decoding and hashing leave the interpreter's lock
        results = list(track(pool.map(_check, files), what, total=len(files)))
    left_out = [(file, reason) for file, (_, reason) in zip(files, results, strict=True) if reason]
    if left_out:
        why = Counter(reason.partition(":")[0] for _, reason in left_out)
        counts = ", ".join(f"{count} {kind}" for kind, count in why.most_common())
        file, reason = left_out[0]
        say(f"{what}: {len(left_out)} of {len(files)} left out: {counts}; {str(file)!r} is {reason}")
    return results


def groups_of(data: Path, photos: Sequence[Photo], group_regex: str | None) -> tuple[str, ...]:
    """Name each photo's group: by what `group_regex` finds, or as `flyobj data prepare` has noted it.

    Photos of one group (a clip, a place, a day, near duplicates) stay on one side of a split. Without
    either, every photo is a group of its own.

    Raises:
        InputError: the expression finds nothing in any file name.
    """
    paths = [photo.path.relative_to(data).as_posix() for photo in photos]
    if group_regex is not None:
        settings = PrepareSettings(group_regex=group_regex)
        found = settings.groups_of([photo.path.name for photo in photos])
    elif (data / NAME).is_file():
        rows = [row for row in read_manifest(data / NAME) if row.kept]
        placed = {row.path: target(row) for row in rows}
        # A near duplicate that was kept goes with the photo that it is near to.
        noted = {target(row): row.group or placed.get(row.other, "") for row in rows}
        found = [noted.get(path, "") for path in paths]
    else:
        return tuple(paths)
    return tuple(group or path for group, path in zip(found, paths, strict=True))


def number_groups(photos: Sequence[Photo], data: Path, regex: str | None) -> tuple[Indices, str]:
    """Number each photo's group, (photos,), and say for people what these groups are.

    Intervals over photos as if each were a new case are too narrow where photos come in groups.
    """
    numbers = number(groups_of(data, photos, regex))
    count, how = int(numbers.max()) + 1, f"groups of {NAME}"
    if regex is not None:
        how = f"groups by {regex}"
    elif count == len(photos):
        how = "photos, as no groups are known"
    return numbers, f"{count} {how}"


def hold_out(
    photos: Sequence[Photo], groups: Sequence[str], share: float, seed: int
) -> tuple[tuple[Photo, ...], tuple[Photo, ...]]:
    """Part `photos` into the rest and a validation set with about `share` of each class.

    Raises:
        InputError: a class would be missing on one side.
    """
    numbers = number(groups)
    labels = np.array([photo.label for photo in photos])
    held = choose(numbers, labels, share, seed)
    for label in np.unique(labels):
        own = labels == label
        if held[own].all() or not held[own].any():
            folder = photos[int(own.argmax())].path.parent
            n_groups = len(np.unique(numbers[own]))
            raise InputError(
                f"class folder {str(folder)!r} has {own.sum()} readable photo(s) in {n_groups} "
                "group(s), at least 2 groups are needed (one to train on, one to validate on); add "
                "photos"
            )
    return tuple(compress(photos, ~held)), tuple(compress(photos, held))


def _class_folders(data: Path, folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise InputError(
            f"{str(folder)!r}: no such folder; {str(data)!r} must have one folder of photos per class "
            f"under each of {', '.join(SPLITS)}: {str(folder / 'CLASS' / 'photo.jpg')!r}"
        )
    classes = tuple(folders_in(folder))
    if len(classes) < 2:
        raise InputError(
            f"{str(folder)!r} has {len(classes)} class folder(s) {list(classes)}, at least 2 are "
            "needed; put each class's photos into a folder of its own"
        )
    return classes


def _check(file: Path) -> tuple[str, str]:
    try:
        content = file.read_bytes()
        decode_photo(content)
    except (PhotoError, OSError) as error:
        return "", f"{reason_for(error)}: {error}"
    return hashlib.sha256(content).hexdigest(), ""


def _require_photos(
    folder: Path, classes: tuple[str, ...], photos: list[Photo], skipped: list[SkippedPhoto]
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
