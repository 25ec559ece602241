"""Which files a source holds, and which class and split their folders say.

Three layouts: SOURCE/CLASS/**/FILE; SOURCE/{train,test}/CLASS/**/FILE, whose split is kept; and
SOURCE/train/CLASS/**/FILE alone, which is split.
"""

from dataclasses import dataclass
from pathlib import Path

from model.errors import InputError
from model.photo_files import HIDDEN, SPLITS, find_files, folders_in, splits_in
from training.data.manifest import Reason, Row


@dataclass(frozen=True)
class Tree:
    """All files of a source, and the folders that weren't entered, with the reason.

    `rows` are sorted by path, and as they are before anybody looked into a file; those that nobody has
    to look into are dropped already.
    """

    rows: list[Row]
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
    if odd := [name for name in names if name.encode(errors="replace").decode() != name]:
        raise InputError(f"class folder {odd[0]!a} has a name that isn't UTF-8; rename it")
    found, given = find_files(source), set(splits) == set(SPLITS)
    rows = [_place(path, len(splits) > 0, given) for path in found.files]
    for path, why in found.skipped_files.items():
        rows.append(Row(path))
        rows[-1].drop(*((Reason.HIDDEN,) if why == HIDDEN else (Reason.UNOPENED, why)))
    rows.sort(key=lambda row: row.path)
    return Tree(rows, tuple(sorted(names)), given, dict(sorted(found.skipped_folders.items())))


def _place(path: str, has_splits: bool, given: bool) -> Row:
    """Read class and split from the folders."""
    parts = path.split("/")
    depth = 1 if has_splits else 0  # of the class folder's name
    if len(parts) < depth + 2:
        return Row(path, kept=False, reason=Reason.OUTSIDE)
    return Row(path, parts[depth], parts[0] if given else "")
