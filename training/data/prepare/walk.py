"""Which files a source holds, and which class and split their folders say (see `model.layout`).

A split that is given is kept. Photos of a pile, of train alone, and of train beside validation are split
into train and test.
"""

from dataclasses import dataclass
from pathlib import Path

from model.errors import InputError
from model.layout import (
    TEST,
    TRAIN,
    VALIDATION,
    Layout,
    read_layout,
    require_distinct,
    require_no_broken_class,
    split_named,
)
from model.photo_files import HIDDEN, find_files
from training.data.manifest import Reason, Row


@dataclass(frozen=True)
class Tree:
    """All files of a source, and the folders that weren't entered, with the reason.

    `rows` are sorted by path, and as they are before anybody looked into a file; those that nobody has
    to look into are dropped already.
    """

    rows: list[Row]
    classes: tuple[str, ...]
    splits: dict[str, str]  # those given, and their folders
    unentered: dict[str, str]


def walk(source: Path) -> Tree:
    """Find every file under `source`.

    Raises:
        InputError: there is no such folder, it can't be read, it has fewer than two class folders, two
            that look alike, or splits with other folders next to them.
    """
    layout = read_layout(source)
    _require_splits_only(layout)
    names = sorted({name for classes in layout.classes.values() for name in classes})
    if len(names) < 2:
        where = f"{str(source)!r}" + (f" (in {[*layout.splits.values()]})" if layout.splits else "")
        raise InputError(
            f"{where} has {f'one class folder {names}' if names else 'no class folder'}, at least 2 are "
            f"needed: {str(source / 'CLASS' / 'photo.jpg')!r}; if they are further down, name the "
            "folder that holds them"
        )
    require_distinct(names, repr(str(source)))
    found = find_files(source)
    for folder in layout.splits.values() or ("",):
        above = f"{folder}/" if folder else ""
        skipped = {path.removeprefix(above): why for path, why in found.skipped_files.items()}
        require_no_broken_class(source / folder, skipped)
    rows = [_place(path, layout) for path in found.files]
    for path, why in found.skipped_files.items():
        rows.append(Row(path))
        rows[-1].drop(*((Reason.HIDDEN,) if why == HIDDEN else (Reason.UNOPENED, why)))
    rows.sort(key=lambda row: row.path)
    splits = layout.splits if len(layout.splits) > 1 else {}
    return Tree(rows, tuple(names), splits, dict(sorted(found.skipped_folders.items())))


def _require_splits_only(layout: Layout) -> None:
    splits = list(layout.splits.values())
    if layout.beside:
        flat = [path for path in layout.beside if split_named(path.rpartition("/")[2])]
        why = f" ({flat[0]!r} has no class folders)" if flat else ""
        raise InputError(
            f"{str(layout.root)!r} has {splits} next to {list(layout.beside)}{why}; move away what is "
            "no split, or rename a class that is called like one"
        )
    if len(splits) > 1 and TRAIN not in layout.splits:
        raise InputError(
            f"{str(layout.root)!r} has {splits} and no train; name the folder of the photos to train on "
            "'train'"
        )


def _place(path: str, layout: Layout) -> Row:
    """Read class and split from the folders."""
    place = layout.place(path)
    if place is None:
        return Row(path, kept=False, reason=Reason.OUTSIDE)
    split, name, below = place
    given = split == VALIDATION if TEST not in layout.splits else True
    return Row(path, name, split if given and len(layout.splits) > 1 else "", file=below)
