"""Labelled photos of a split (see `model.layout`): read, checked, and some held out for validation.

Every file is decoded once before training, so that a damaged one is named now and not in the middle
of an epoch. What is left out is said and returned, with the reason; so is what the manifest of
`flyobj data prepare` lists and isn't there any more.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np

from model.errors import InputError, PhotoError
from model.image import decode_photo
from model.layout import (
    TEST,
    TRAIN,
    class_name,
    classes_in,
    link_target,
    read_layout,
    require_distinct,
    require_no_broken_class,
)
from model.photo_files import HIDDEN, find_files, folders_in, tally, warn_of_lost
from model.text import did_you_mean, shell_quote, shorten
from report.progress import say, track
from training.data.grouping import UNSEEN, Look, look
from training.data.manifest import NAME, Reason, read_manifest, reason_for, target
from training.data.split import choose, number

GONE = f"listed in {NAME}, but not there"


@dataclass(frozen=True)
class Photo:
    """One labelled photo; `label` is an index into the classes."""

    path: Path
    label: int
    look: Look = UNSEEN


@dataclass(frozen=True)
class SkippedPhoto:
    """A file that was left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Split:
    """The readable photos of one split, sorted by path; `folder` is where its class folders are."""

    folder: Path
    classes: tuple[str, ...]
    photos: tuple[Photo, ...]
    skipped: tuple[SkippedPhoto, ...]
    fingerprint: str  # SHA-256 over every photo's relative path and content


def read_split(data: Path, split: str) -> Split:
    """Read and check the photos of a split of `data`, under any of the names that the split goes by.

    Raises:
        InputError: there is no such folder, fewer than two classes, a link that leads nowhere in the
            place of a class, or a class without a readable photo or without those that it had.
    """
    if not data.is_dir():
        near = did_you_mean(data.name, folders_in(data.parent)) if data.parent.is_dir() else ""
        what = "a file, not a folder" if data.exists() else "no such folder"
        raise InputError(f"{str(data)!r}: {what}; give a folder with {TRAIN}/CLASS/ photos{near}")
    folder = read_layout(data).folder(split)
    classes = _class_folders(data, folder)
    found = find_files(folder)
    require_no_broken_class(folder, found.skipped_files)
    labels = {name: label for label, name in enumerate(classes)}
    files = [(folder / p, labels[class_name(p.partition("/")[0])]) for p in found.files if "/" in p]
    left_out = {p: str(Reason.OUTSIDE) for p in found.files if "/" not in p} | found.skipped
    results = check_photos([file for file, _ in files], f"checking {split}")
    photos, skipped, digest = [], [], hashlib.sha256()
    for (file, label), found_in in zip(files, results, strict=True):
        if found_in.reason:
            skipped.append(SkippedPhoto(file, found_in.reason))
            continue
        photos.append(Photo(file, label, found_in.look))
        name = os.fsencode(file.relative_to(folder))  # it may be no UTF-8
        digest.update(name + f"\0{found_in.sha256}\n".encode())
    unreadable = {s.reason for s in skipped}
    skipped += [SkippedPhoto(folder / path, reason) for path, reason in left_out.items()]
    skipped += _lost_photos(data, folder, classes, photos, skipped)
    _require_photos(folder, classes, photos, skipped)
    missed = [s for s in skipped if s.reason not in (HIDDEN, *unreadable)]
    if missed:
        say(f"{str(folder)!r}: {tally(s.reason for s in missed)}, such as {str(missed[0].path)!r}")
    return Split(folder, classes, tuple(photos), tuple(skipped), digest.hexdigest())


def photos_named(folder: Path, classes: Sequence[str], names: Sequence[str]) -> tuple[Photo, ...]:
    """Label photos by their paths below `folder`, whose first part is the class.

    Raises:
        ValueError: one isn't in a folder of a class.
    """
    labels = {class_name(name): label for label, name in enumerate(classes)}
    try:
        return tuple(Photo(folder / n, labels[class_name(n.partition("/")[0])]) for n in names)
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} is no class") from error


@dataclass(frozen=True)
class CheckResult:
    """What decoding a file has shown, or the reason to leave it out."""

    sha256: str = ""
    look: Look = UNSEEN
    reason: str = ""


def check_photos(files: Sequence[Path], what: str) -> list[CheckResult]:
    """Decode each file, and look at it.

    How many are left out, and why, is said.
    """
    with ThreadPoolExecutor() as pool:  # decoding and hashing leave the interpreter's lock
        results = list(track(pool.map(_check, files), what, total=len(files)))
    left_out = [(file, r.reason) for file, r in zip(files, results, strict=True) if r.reason]
    if left_out:
        counts = tally(reason.partition(":")[0] for _, reason in left_out)
        file, reason = left_out[0]
        say(f"{what}: {len(left_out)} of {len(files)} left out: {counts}; {str(file)!r} is {reason}")
    return results


def list_unknown(folder: Path) -> tuple[Path, list[Path], int]:
    """List the readable photos anywhere under `folder`, and count the other files."""
    found = find_files(folder)
    warn_of_lost(folder, found)
    files = [folder / name for name in found.files]
    checks = check_photos(files, "checking photos of no known class")
    photos = [file for file, check in zip(files, checks, strict=True) if not check.reason]
    if not photos:
        raise InputError(
            f"{str(folder)!r} has no readable photo ({len(found.files)} file(s)); give a folder of "
            "photos that belong to none of the classes"
        )
    return folder, photos, len(found.files) + len(found.skipped) - len(photos)


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
                "photos, or give --group-regex '' if they don't belong together"
            )
    return tuple(compress(photos, ~held)), tuple(compress(photos, held))


def _class_folders(data: Path, folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise InputError(_why_no_split(data, folder))
    classes = tuple(classes_in(folder))
    require_distinct(classes, repr(str(folder)))
    if len(classes) < 2:
        raise InputError(
            f"{str(folder)!r} has {len(classes)} class folder(s) {list(classes)}, at least 2 are "
            "needed; put each class's photos into a folder of its own"
        )
    return classes


def _why_no_split(data: Path, folder: Path) -> str:
    """Say what is there in place of a split, and what makes one."""
    layout = read_layout(data)
    if layout.splits:
        have = ", ".join(layout.splits)
        return f"{str(data)!r} has {have} photos, no {folder.name} ones: add {str(folder / 'CLASS')!r}"
    classes = list(layout.classes[""])
    if len(classes) > 1:
        prepared = Path("data", data.resolve().name)
        return (
            f"{str(data)!r} has {len(classes)} class folders and no split ({', '.join(classes[:5])}); "
            f"clean and split it first: `flyobj data prepare {shell_quote(shorten(data))} --out "
            f"{shell_quote(prepared)}`"
        )
    return (
        f"{str(folder)!r}: no such folder; {str(data)!r} must have one folder of photos per class under "
        f"each of {TRAIN}, {TEST}: {str(folder / 'CLASS' / 'photo.jpg')!r}"
    )


def _check(file: Path) -> CheckResult:
    try:
        content = file.read_bytes()
        seen = look(content, decode_photo(content))
    except (PhotoError, OSError) as error:
        return CheckResult(reason=f"{reason_for(error)}: {error}")
    return CheckResult(hashlib.sha256(content).hexdigest(), seen)


def _lost_photos(
    data: Path, folder: Path, classes: Sequence[str], photos: list[Photo], skipped: list[SkippedPhoto]
) -> list[SkippedPhoto]:
    """List what `flyobj data prepare` put into `folder` and is no longer there.

    Raises:
        InputError: it is all of a class.
    """
    if not (data / NAME).is_file():
        return []
    split = f"{folder.relative_to(data).as_posix()}/"
    there = {photo.path.relative_to(data).as_posix() for photo in photos}
    filled = {classes[photo.label] for photo in photos}
    lost: dict[str, list[str]] = defaultdict(list)
    for row in read_manifest(data / NAME):
        if row.kept and (path := target(row)).startswith(split) and path not in there:
            lost[class_name(row.class_name)].append(path)
    for name, own in lost.items():
        if name not in filled:
            first = f"{own[0]!r}{link_target(data / own[0])}"
            raise InputError(
                f"class {name!r} has lost all {len(own)} photos that {NAME} lists in {str(folder)!r}, "
                f"such as {first}: put them back, or make the folder again with `flyobj data prepare "
                "SOURCE --out DIR --force`"
            )
    known = {s.path for s in skipped}
    gone = [data / path for own in lost.values() for path in own]
    return [SkippedPhoto(path, GONE) for path in gone if path not in known]


def _require_photos(
    folder: Path, classes: tuple[str, ...], photos: list[Photo], skipped: list[SkippedPhoto]
) -> None:
    filled = {p.label for p in photos}
    for label, name in enumerate(classes):
        if label not in filled:
            folders = [folder / own for own in classes_in(folder)[name]]
            own = [s for s in skipped if any(map(s.path.is_relative_to, folders))]
            why = f"; {own[0].path.name!r}: {own[0].reason}{link_target(own[0].path)}" if own else ""
            raise InputError(
                f"class folder {str(folders[0])!r} has no readable photo ({len(own)} file(s) can't "
                f"be used{why}); add photos or remove the folder"
            )
