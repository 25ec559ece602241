"""Which photos a user means by files, folders, `-` and pipes."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import InputError
from model.limits import DEFAULT_LIMITS
from model.photo_files import find_files, may_be_photo, warn_of_lost

STDIN = "-"


@dataclass(frozen=True, slots=True)
class PhotoSource:
    """A photo to classify: a file, or the `content` that a pipe had."""

    name: str  # as it is called in results: the path as the user gave it
    below: str  # its path below the folder that was given, or its file's name
    named: bool = False  # by itself, not as part of a folder
    content: bytes | None = None
    missing: str = ""  # why there is nothing to read

    def read(self) -> bytes:
        """Read the photo; raises `OSError`."""
        return Path(self.name).read_bytes() if self.content is None else self.content


@dataclass(frozen=True)
class FoundPhotos:
    """Every photo, each path once, in the order given; folders are sorted by path."""

    photos: tuple[PhotoSource, ...]
    folders: tuple[Path, ...]  # those searched
    others: int  # files in them that aren't photos


def find_sources(names: Sequence[str]) -> FoundPhotos:
    """Find the photos that are named, or are in folders that are.

    In a folder, a file is a photo if its first bytes or its suffix say so: what is only called a photo
    gets an answer that says what is wrong with it.

    Raises:
        InputError: nothing that was named exists or holds photos.
    """
    found: dict[str, PhotoSource] = {}
    folders, others = [], 0
    for name in names:
        path = Path(name)
        if name != STDIN and path.is_dir():
            photos, rest = _in_folder(path)
            folders.append(path)
            others += rest
        else:
            photos = [_single(name, path)]
        for photo in photos:
            found.setdefault(photo.name, photo)
    if all(photo.missing for photo in found.values()):
        reasons = ", ".join(f"{photo.missing}: {photo.name}" for photo in found.values())
        raise InputError(f"{reasons}; give image files, or folders that hold some")
    return FoundPhotos(tuple(found.values()), tuple(folders), others)


def _in_folder(folder: Path) -> tuple[list[PhotoSource], int]:
    """List a folder's photos and count its other files; one that has none is itself what is missing."""
    root = str(folder)
    try:
        found = find_files(folder)
    except InputError as error:
        return [PhotoSource(root, root, True, missing=str(error).partition(";")[0])], 0
    warn_of_lost(folder, found)
    files = found.files
    photos = [PhotoSource(f"{folder / f}", f) for f in files if may_be_photo(folder / f)]
    if not photos:
        return [PhotoSource(root, root, True, missing="no photos in this folder")], len(files)
    return photos, len(files) - len(photos)


def _single(name: str, path: Path) -> PhotoSource:
    if name == STDIN:
        return PhotoSource(name, "stdin", True, sys.stdin.buffer.read(DEFAULT_LIMITS.max_bytes + 1))
    if path.is_fifo():  # such as the shell's <(...): it can be read once, and by this process alone
        with path.open("rb") as pipe:
            return PhotoSource(name, path.name, True, pipe.read(DEFAULT_LIMITS.max_bytes + 1))
    return PhotoSource(name, path.name, True, missing="" if path.is_file() else "no such file")
