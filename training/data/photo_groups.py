"""The groups of labelled photos: those that are named, noted in a manifest, or noticed (`grouping`)."""

from collections.abc import Container, Sequence
from contextlib import suppress
from pathlib import Path

from model.errors import InputError
from model.layout import TEST, class_name, read_layout
from model.photo_files import find_files
from training.data.grouping import NOTICED, find_groups, stems
from training.data.manifest import NAME, read_manifest, target
from training.data.photos import Photo
from training.data.prepare.settings import PrepareSettings
from training.data.split import Indices, number


def groups_of(data: Path, photos: Sequence[Photo], group_regex: str | None) -> tuple[str, ...]:
    """Name each photo's group: by `group_regex` ("" for none), as `prepare` has noted, or as names tell.

    Photos of one group (a clip, a place, a day, near duplicates) stay on one side of a split. One that
    is of none is a group of its own, under its path.

    Raises:
        InputError: the expression finds nothing in any file name.
    """
    paths = [photo.path.relative_to(data).as_posix() for photo in photos]
    if group_regex is not None:
        settings = PrepareSettings(group_regex=group_regex)
        found = settings.groups_of([photo.path.name for photo in photos])
    else:
        kept = [r for r in read_manifest(data / NAME) if r.kept] if (data / NAME).is_file() else []
        placed = {row.path: target(row) for row in kept}
        # A near duplicate that was kept goes with the photo that it is near to.
        noted = {target(row): row.group or placed.get(row.other, "") for row in kept}
        found = [noted.get(path, "") for path in paths]
        if not any(row.group or row.colour for row in kept):  # nobody has looked for groups yet
            noticed = _notice_groups(data, paths, photos)
            found = [one or two for one, two in zip(found, noticed, strict=True)]
    return tuple(group or path for group, path in zip(found, paths, strict=True))


def groups_in_test(data: Path, groups: Container[str], group_regex: str | None) -> set[str]:
    """Tell which of `groups` have test photos too, by their names alone."""
    layout = read_layout(data)
    folder = layout.folder(TEST)
    files = find_files(folder).files if folder.is_dir() else []
    photos = [Photo(folder / file, 0) for file in files]
    if group_regex is None and not (data / NAME).is_file():
        places = [file.partition("/") for file in files]
        own = [f"{class_name(folder)}/{stem}" for folder, _, name in places for stem in stems(name)]
    else:
        own = []
        with suppress(InputError):  # test photos may have other names
            own += groups_of(data, photos, group_regex) if photos else ()
    return {name for name in own if name in groups}


def _notice_groups(data: Path, paths: Sequence[str], photos: Sequence[Photo]) -> list[str]:
    layout = read_layout(data)
    places = [layout.place(path) or ("", "", path) for path in paths]
    classes, below = [place[1] for place in places], [place[2] for place in places]
    return find_groups(below, classes, [p.look for p in photos]).groups


def number_groups(photos: Sequence[Photo], data: Path, regex: str | None) -> tuple[Indices, str]:
    """Number each photo's group, (photos,), and say for people what these groups are.

    Intervals over photos as if each were a new case are too narrow where photos come in groups.
    """
    numbers = number(groups_of(data, photos, regex))
    count, how = int(numbers.max()) + 1, f"groups {NOTICED}"
    if regex is None and (data / NAME).is_file():
        how = f"groups of {NAME}"
    elif regex:
        how = f"groups by {regex}"
    elif count == len(photos):
        how = "photos, as no groups are known"
    return numbers, f"{count} {how}"
