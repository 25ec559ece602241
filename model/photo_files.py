"""Which photos a folder holds: one finder for data sets, training, evaluation, rollouts and load tests.

What a file is, its first bytes say, not its name. Hidden files and folders, and what systems leave
beside photos, are left out; folders inside folders are searched; links are followed, but not in circles,
nor twice to the same folder. Where classes and splits lie, `model.layout` says.
"""

import heapq
import logging
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import InputError
from model.formats import FORMATS, SUFFIXES, format_of

HIDDEN, CIRCLE, BROKEN = "hidden", "link in a circle", "broken link"
_FOLDER, _LINK, _FILE = "folder", "link to a folder", "file"
_FOLDERS = (_FOLDER, _LINK)
# Left by macOS' archives, Synology, Windows' thumbnails and Windows' folder settings.
_LITTER = {"__macosx", "@eadir", "thumbs.db", "desktop.ini"}
_SUFFIXES = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}
_HEAD = 12  # bytes that tell a format

Identity = tuple[int, int]  # device and inode

logger = logging.getLogger(__name__)


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
    """List the photos under `folder`, at most `limit`, evenly spread; warn of links that lead nowhere.

    Raises:
        InputError: there are none, or the folder can't be read.
    """
    found = find_files(folder)
    warn_of_lost(folder, found)
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


def warn_of_lost(folder: Path, found: FolderFiles) -> None:
    """Say what was left out of `folder` although it isn't hidden: broken links, circles, pipes."""
    if lost := {path: why for path, why in found.skipped.items() if why != HIDDEN}:
        reasons, first = tally(lost.values()), str(folder / next(iter(lost)))
        logger.warning("left out under %r: %s, such as %r", str(folder), reasons, first)


def tally(reasons: Iterable[str]) -> str:
    """Count reasons for people: "12 broken link, 3 hidden"."""
    return ", ".join(f"{count} {why}" for why, count in Counter(reasons).most_common())


def may_be_photo(path: Path) -> bool:
    """Whether a file starts like a photo or is called like one, as damaged ones are."""
    return _is_photo(path) or path.suffix.lower() in _SUFFIXES


def find_files(folder: Path) -> FolderFiles:
    """Find every file under `folder` that may be a photo.

    Raises:
        InputError: the folder can't be read.
    """
    found, above = FolderFiles(), _ancestors(folder)
    searched: dict[tuple[str, Identity], str] = {}  # under each top folder, which may be a class
    todo = [
        (False, "")
    ]  # a heap: links to folders come last, so that a folder is found in its own place
    while todo:
        _, parent = heapq.heappop(todo)
        try:
            identity = _identity(folder / parent)
            other = searched.setdefault((parent.partition("/")[0], identity), parent)
            if parent and (identity in above or other != parent):
                circle = identity in above or f"{parent}/".startswith(f"{other}/")
                found.skipped_folders[parent] = CIRCLE if circle else f"the same folder as {other!r}"
                continue
            listed = _listed(folder / parent)
        except OSError as error:
            if not parent:
                raise _unreadable(folder, error) from error
            found.skipped_folders[parent] = f"can't be read ({error.strerror})"
            continue
        for name, kind in listed:
            path = f"{parent}/{name}" if parent else name
            if _is_hidden(name):
                (found.skipped_folders if kind in _FOLDERS else found.skipped_files)[path] = HIDDEN
            elif kind == _FILE:
                found.files.append(path)
            elif kind in _FOLDERS:
                heapq.heappush(todo, (kind == _LINK, path))
            else:
                found.skipped_files[path] = kind
    found.files.sort(key=lambda path: path.split("/"))
    return found


def folders_in(folder: Path) -> list[str]:
    """Name the folders directly in `folder` that `find_files` enters, sorted.

    Raises:
        InputError: the folder can't be read.
    """
    above = _ancestors(folder)
    try:
        names = [name for name, kind in _listed(folder) if kind in _FOLDERS and not _is_hidden(name)]
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted(name for name in names if _identity(folder / name) not in above)


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
    """`_FOLDER`, `_LINK`, `_FILE`, or why it is none of these."""
    try:
        if entry.is_dir():
            return _LINK if entry.is_symlink() else _FOLDER
        if entry.is_file():
            return _FILE
    except OSError:  # a link to itself, say
        return BROKEN
    return "neither a file nor a folder" if Path(entry.path).exists() else BROKEN


def _ancestors(folder: Path) -> frozenset[Identity]:
    """A link to one of these leads in a circle."""
    root = folder.resolve()
    return frozenset(_identity(path) for path in (root, *root.parents) if path.exists())


def _identity(folder: Path) -> Identity:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _unreadable(folder: Path, error: OSError) -> InputError:
    remedy = "if it is an archive, unpack it; " if folder.is_file() else ""
    return InputError(
        f"{str(folder)!r} can't be read ({error.strerror}); {remedy}give a folder of photos"
    )
