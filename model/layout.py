"""Where a data set's photos lie: which folders are its splits and which its classes. One reader for all.

    ROOT/CLASS/**/FILE                              a pile without a split
    ROOT/{train,validation,test}/CLASS/**/FILE      a data set

Published data sets call a split Training, seg_train or valid, repeat it (train/train/CLASS), and put it
below folders that hold nothing else (archive/Dataset/Training): all that is read as what it says.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from model.errors import InputError
from model.photo_files import BROKEN, folders_in

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
_NAMES = {"train": TRAIN, "training": TRAIN, "test": TEST, "testing": TEST}
_NAMES |= dict.fromkeys(("val", "valid", "validation", "validate", "dev"), VALIDATION)
_SPLIT = re.compile(rf"(?:seg[ _-])?({'|'.join(_NAMES)})(?:[ _-]?(?:set|data|dataset|images|photos))?")


@dataclass(frozen=True)
class Layout:
    """Folders below `root`, with slashes; `splits` are those that hold class folders.

    `beside` are the folders next to them that are none. A pile has no splits, and its classes under "".
    """

    root: Path
    splits: dict[str, str]
    beside: tuple[str, ...] = ()

    def folder(self, split: str) -> Path:
        """Return the folder of a split under any of its names; where it would be if there is none."""
        name = split_named(split) or split
        candidates = [path for path in self.beside if split_named(path.rpartition("/")[2]) == name]
        return self.root / self.splits.get(name, (candidates or [split])[0])

    @cached_property
    def classes(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Each split's classes, sorted, with their folders: several if those are spelt differently."""
        return {
            split: classes_in(self.root / folder) for split, folder in (self.splits or {"": ""}).items()
        }

    def place(self, path: str) -> tuple[str, str, str] | None:
        """Split, class and path below the class of a file below `root`; None if it is in no class."""
        for split, folder in self.splits.items() or (("", ""),):
            above = f"{folder}/" if folder else ""
            if path.startswith(above):
                name, _, below = path[len(above) :].partition("/")
                return (split, class_name(name), below) if below else None
        return None


def read_layout(root: Path) -> Layout:
    """Find the splits in `root`.

    Raises:
        InputError: the folder can't be read, or two folders are the same split.
    """
    at, names = "", folders_in(root)
    splits = _splits(root, at, names)
    while not splits and len(names) == 1:  # one class isn't enough for a data set, so it may hold one
        at = _join(at, names[0])
        names = folders_in(root / at)
        splits = _splits(root, at, names)
    if not splits:
        return Layout(root, {})
    used = {folder[len(at) :].strip("/").partition("/")[0] for folder in splits.values()}
    return Layout(root, splits, tuple(_join(at, name) for name in names if name not in used))


def split_named(name: str) -> str | None:
    """Return which split a folder of this name would be."""
    match = _SPLIT.fullmatch(name.casefold())
    return _NAMES[match[1]] if match else None


def class_name(folder: str) -> str:
    """The class of a folder: macOS' archives spell "é" as two characters (NFD), others as one (NFC)."""
    return unicodedata.normalize("NFC", folder)


def classes_in(folder: Path) -> dict[str, tuple[str, ...]]:
    """Name the classes whose folders are in `folder`, sorted, each with its folders.

    Raises:
        InputError: it can't be read, or holds a name that isn't UTF-8.
    """
    found = defaultdict(list)
    for name in folders_in(folder):
        if name.encode(errors="replace").decode() != name:
            raise InputError(
                f"class folder {str(folder / name)!a} has a name that isn't UTF-8; rename it"
            )
        found[class_name(name)].append(name)
    return {name: tuple(found[name]) for name in sorted(found)}


def require_distinct(names: Iterable[str], where: str) -> None:
    """Refuse classes whose names differ only in ways that people and many disks don't see.

    Raises:
        InputError: in capitals, width, or spaces and dots at the end.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFKC", name).casefold().rstrip(" .").lstrip()
        if (other := seen.setdefault(key, name)) != name:
            raise InputError(
                f"{where} has the class folders {other!r} and {name!r}, one class by the looks of it; "
                "move the photos of one into the other, or rename it"
            )


def require_no_broken_class(folder: Path, skipped: Mapping[str, str]) -> None:
    """Refuse a broken link where class folders are: without it a class would be missing in silence.

    Args:
        folder: of class folders.
        skipped: files of it that `find_files` skipped, and why.

    Raises:
        InputError: one of them is such a link.
    """
    for name, why in skipped.items():
        if why == BROKEN and "/" not in name and not Path(name).suffix:
            raise InputError(
                f"{str(folder / name)!r} is a broken link{link_target(folder / name)}: put its photos "
                "back there, or remove the link to do without that class"
            )


def link_target(path: Path) -> str:
    """Say where a symbolic link leads, in parentheses; nothing of what is none."""
    return f" (to {str(path.readlink())!r})" if path.is_symlink() else ""


def _splits(root: Path, at: str, names: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        split, path = split_named(name), _join(at, name)
        if split is None or not (inner := folders_in(root / path)):
            continue
        if split in found:
            raise InputError(
                f"{str(root / found[split])!r} and {str(root / path)!r} are both called {split}; "
                "move the photos of one into the other, or one of them away"
            )
        while len(inner) == 1 and split_named(inner[0]) == split and folders_in(root / path / inner[0]):
            path = _join(path, inner[0])
            inner = folders_in(root / path)
        found[split] = path
    return {split: found[split] for split in SPLITS if split in found}


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
