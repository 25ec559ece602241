"""Which photos a folder holds: one finder for data sets, training, evaluation, rollouts and load tests.

What a file is, its first bytes say, not its name. Hidden files and folders, and what systems leave
beside photos, are left out; folders inside folders are searched; links are followed, never in circles.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import InputError
from model.formats import FORMATS, SUFFIXES, format_of

SPLITS = ("train", "test")
HIDDEN, CIRCLE = "hidden", "link in a circle"
_FOLDER, _FILE = "folder", "file"
# Left by macOS' archives, Synology, Windows' thumbnails and Windows' folder settings.
_LITTER = {"__macosx", "@eadir", "thumbs.db", "desktop.ini"}
_SUFFIXES = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}
_HEAD = 12  # bytes that tell a format


@dataclass(frozen=True)
class FolderFiles:
    """Paths below a folder, with slashes, in the order of their folders; what was left out, and why."""

    files: list[str] = field(default_factory=list)
    skipped_files: dict[str, str] = field(default_factory=dict)
    skipped_folders: dict[str, str] = field(default_factory=dict)

    @property
    def skipped(self) -> dict[str, str]:
        """Files and folders."""
        return dict(sorted({**self.skipped_files, **self.skipped_folders}.items()))


def find_photos(folder: Path, limit: int | None = None) -> list[Path]:
    """List the photos under `folder`, at most `limit`, evenly spread.

    Raises:
        InputError: there are none, or the folder can't be read.
    """
    found = find_files(folder)
    files = [folder / name for name in found.files]
    picked = spread(files, limit)  # so that of many files only a few are looked into
    photos = [path for path in picked if _is_photo(path)]
    if len(photos) < len(picked) < len(files):
        photos = spread([path for path in files if _is_photo(path)], limit)
    if not photos:
        raise InputError(
            f"no photos under {str(folder)!r} ({len(found.files)} other files, {len(found.skipped)} "
            f"hidden or broken); give a folder that holds some, as {', '.join(FORMATS)}"
        )
    return photos


def spread(photos: list[Path], limit: int | None) -> list[Path]:
    """Take at most `limit` of the photos, evenly spread; None takes all."""
    return photos[:: max(1, -(-len(photos) // limit)) if limit else 1]


def may_be_photo(path: Path) -> bool:
    """Whether a file starts like a photo or is called like one, as damaged ones are."""
    return _is_photo(path) or path.suffix.lower() in _SUFFIXES


def find_files(folder: Path) -> FolderFiles:
    """Find every file under `folder` that may be a photo.

    Raises:
        InputError: the folder can't be read.
    """
    found, todo = FolderFiles(), [("", _ancestors(folder))]
    while todo:
        parent, above = todo.pop()
        try:
            listed = _listed(folder / parent)
        except OSError as error:
            if not parent:
                raise _unreadable(folder, error) from error
            found.skipped_folders[parent] = f"can't be read ({error.strerror})"
            continue
        for name, kind in listed:
            path = f"{parent}/{name}" if parent else name
            if _is_hidden(name):
                (found.skipped_folders if kind == _FOLDER else found.skipped_files)[path] = HIDDEN
            elif kind == _FILE:
                found.files.append(path)
            elif kind != _FOLDER:
                found.skipped_files[path] = kind
            elif (identity := _identity(folder / path)) in above:
                found.skipped_folders[path] = CIRCLE
            else:
                todo.append((path, above | {identity}))
    found.files.sort(key=lambda path: path.split("/"))
    return found


def folders_in(folder: Path) -> list[str]:
    """Name the folders directly in `folder` that `find_files` enters, sorted.

    Raises:
        InputError: the folder can't be read.
    """
    above = _ancestors(folder)
    try:
        names = [name for name, kind in _listed(folder) if kind == _FOLDER and not _is_hidden(name)]
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted(name for name in names if _identity(folder / name) not in above)


def splits_in(folder: Path) -> list[str]:
    """Name the splits in `folder`: those of `SPLITS` that hold folders of their own."""
    return [name for name in SPLITS if name in folders_in(folder) and folders_in(folder / name)]


def _is_photo(path: Path) -> bool:
    try:
        with path.open("rb", buffering=0) as file:
            return format_of(file.read(_HEAD)) in FORMATS
    except OSError:
        return False


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LITTER


def _listed(folder: Path) -> list[tuple[str, str]]:
    with os.scandir(folder) as entries:
        return [(entry.name, _kind_of(entry)) for entry in entries]


def _kind_of(entry: os.DirEntry[str]) -> str:
    """`_FOLDER`, `_FILE`, or why it is neither."""
    try:
        if entry.is_dir():
            return _FOLDER
        if entry.is_file():
            return _FILE
    except OSError:  # a link to itself, say
        return "broken link"
    return "neither a file nor a folder" if Path(entry.path).exists() else "broken link"


def _ancestors(folder: Path) -> frozenset[tuple[int, int]]:
    """A link to one of these leads in a circle."""
    root = folder.resolve()
    return frozenset(_identity(path) for path in (root, *root.parents) if path.exists())


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _unreadable(folder: Path, error: OSError) -> InputError:
    return InputError(f"{str(folder)!r} can't be read ({error.strerror}); give a folder of photos")
