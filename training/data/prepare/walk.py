"""Which files a source holds, and which class and split their folders say.

Three layouts: SOURCE/CLASS/**/FILE; SOURCE/{train,test}/CLASS/**/FILE, whose split is kept; and
SOURCE/train/CLASS/**/FILE alone, which is split. Links are followed, but never in circles.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import InputError
from training.data.manifest import SPLITS, Reason


@dataclass(frozen=True, slots=True)
class Found:
    """A file, before anybody looked into it; `problem` says why nobody has to."""

    path: str  # relative to the source, with slashes
    class_name: str
    split: str
    problem: Reason | None = None


@dataclass(frozen=True)
class Tree:
    """All files of a source, sorted by path, and the folders that weren't entered, with the reason."""

    files: tuple[Found, ...]
    classes: tuple[str, ...]
    split_given: bool
    unentered: dict[str, str] = field(default_factory=dict)


def walk(source: Path) -> Tree:
    """Find every file under `source`.

    Raises:
        InputError: there is no such folder, it can't be read, it has fewer than two class folders, or
            splits other than train and test.
    """
    unentered: dict[str, str] = {}
    tops = _folders(source)
    splits = [name for name in SPLITS if name in tops and _folders(source / name)]
    if splits and set(tops) != set(splits):
        others = sorted(set(tops) - set(splits))
        raise InputError(
            f"{str(source)!r} has {splits} beside {others}; name the splits 'train' and 'test' and have "
            "nothing else there, or have class folders only"
        )
    names = {name for split in splits for name in _folders(source / split)} if splits else set(tops)
    if len(names) < 2:
        where = f"{str(source)!r}" + (f" (in {splits})" if splits else "")
        raise InputError(
            f"{where} has {'no class folder' if not names else f'one class folder {sorted(names)}'}, "
            f"at least 2 are needed: {str(source / 'CLASS' / 'photo.jpg')!r}"
        )
    if odd := [name for name in names if _is_no_text(name)]:
        raise InputError(f"class folder {odd[0]!a} has a name that is no UTF-8; rename it")
    paths = _files(source, "", frozenset({_identity(source)}), unentered)
    given = set(splits) == set(SPLITS)
    files = [_place(path, len(splits) > 0, given) for path in paths]
    files.sort(key=lambda found: found.path)
    return Tree(tuple(files), tuple(sorted(names)), given, dict(sorted(unentered.items())))


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"{str(folder)!r} can't be read ({error.strerror}); give a folder of class folders"
        ) from error


def _is_no_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, say; the scan names it
        return False


def _files(
    root: Path, folder: str, above: frozenset[tuple[int, int]], unentered: dict[str, str]
) -> Iterator[str]:
    """Yield the paths of what isn't a folder; note in `unentered` which folders were left out."""
    try:
        with os.scandir(root / folder) as entries:
            found = [(f"{folder}/{e.name}" if folder else e.name, e.name, _is_dir(e)) for e in entries]
    except OSError as error:
        unentered[folder] = f"can't be read ({error.strerror})"
        return
    for path, name, is_folder in found:
        if not is_folder:
            yield path
        elif name.startswith("."):
            unentered[path] = "hidden folder"
        elif (identity := _identity(root / path)) in above:
            unentered[path] = "link in a circle"
        else:
            yield from _files(root, path, above | {identity}, unentered)


def _place(path: str, has_splits: bool, given: bool) -> Found:
    """Read class and split from the folders."""
    parts = path.split("/")
    depth = 1 if has_splits else 0  # of the class folder's name
    if parts[-1].startswith("."):
        return Found(path, "", "", Reason.HIDDEN)
    if len(parts) < depth + 2:
        return Found(path, "", "", Reason.OUTSIDE)
    return Found(path, parts[depth], parts[0] if given else "")
