"""Which files a source holds, and which class and split their folders say.

Three layouts: SOURCE/CLASS/**/FILE; SOURCE/{train,test}/CLASS/**/FILE, whose split is kept; and
SOURCE/train/CLASS/**/FILE alone, which is split.
"""

from dataclasses import dataclass
from pathlib import Path

from model.errors import InputError
from model.photo_files import HIDDEN, SPLITS, find_files, folders_in, splits_in
from training.data.manifest import Reason


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file, before anybody looked into it; `problem` and `detail` say why nobody has to."""

    path: str  # relative to the source, with slashes
    class_name: str
    split: str
    problem: Reason | None = None
    detail: str = ""


@dataclass(frozen=True)
class Tree:
    """All files of a source, sorted by path, and the folders that weren't entered, with the reason."""

    files: tuple[FoundFile, ...]
    classes: tuple[str, ...]
    split_given: bool
    unentered: dict[str, str]


def walk(source: Path) -> Tree:
    """Find every file under `source`.

    Raises:
        InputError: there is no such folder, it can't be read, it has fewer than two class folders, or
            splits other than train and test.
    """
    tops, splits = folders_in(source), splits_in(source)
    if splits and set(tops) != set(splits):
        others = sorted(set(tops) - set(splits))
        raise InputError(
            f"{str(source)!r} has {splits} next to {others}; name the splits 'train' and 'test' with "
            f"nothing else there, or have class folders only"
        )
    names = {name for split in splits for name in folders_in(source / split)} if splits else set(tops)
    if len(names) < 2:
        where = f"{str(source)!r}" + (f" (in {splits})" if splits else "")
        raise InputError(
            f"{where} has {'no class folder' if not names else f'one class folder {sorted(names)}'}, "
            f"at least 2 are needed: {str(source / 'CLASS' / 'photo.jpg')!r}"
        )
    if odd := [name for name in names if not _is_text(name)]:
        raise InputError(f"class folder {odd[0]!a} has a name that isn't UTF-8; rename it")
    found, given = find_files(source), set(splits) == set(SPLITS)
    files = [_place(path, len(splits) > 0, given) for path in found.files]
    for path, why in found.skipped_files.items():
        hidden = why == HIDDEN
        files.append(FoundFile(path, "", "", *((Reason.HIDDEN,) if hidden else (Reason.UNOPENED, why))))
    files.sort(key=lambda file: file.path)
    return Tree(tuple(files), tuple(sorted(names)), given, dict(sorted(found.skipped_folders.items())))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _place(path: str, has_splits: bool, given: bool) -> FoundFile:
    """Read class and split from the folders."""
    parts = path.split("/")
    depth = 1 if has_splits else 0  # of the class folder's name
    if len(parts) < depth + 2:
        return FoundFile(path, "", "", Reason.OUTSIDE)
    return FoundFile(path, parts[depth], parts[0] if given else "")
