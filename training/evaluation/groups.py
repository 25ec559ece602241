"""Which photos belong together: frames of one clip, say, which are right or wrong together.

Intervals drawn over photos as if each were a new case are too narrow where photos come in groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.errors import InputError
from training.photos import Photo
from training.prepare import manifest
from training.prepare.folder import target
from training.prepare.settings import Settings


@dataclass(frozen=True)
class Groups:
    """The group of each photo, as a number from 0; a photo of no group is one by itself."""

    numbers: npt.NDArray[np.int64]  # (photos,)
    how: str  # for people: what was drawn from

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.numbers.max()) + 1


def group(photos: Sequence[Photo], data: Path, regex: str | None) -> Groups:
    """Group photos by what `regex` finds in their names, or as `manifest.csv` in `data` has it.

    Raises:
        InputError: `regex` is none, or finds nothing in any name.
    """
    if regex is not None:
        settings = Settings(group_regex=regex)
        names = [settings.group_of(photo.path.name) for photo in photos]
        if not any(names):
            raise InputError(
                f"--group-regex {regex!r} finds nothing in the {len(photos)} file names, such as "
                f"{photos[0].path.name!r}; give one that finds what photos of a group share"
            )
        return _numbered(photos, names, f"groups by {regex}")
    if (data / manifest.NAME).is_file():
        rows = manifest.read_manifest(data / manifest.NAME)
        known = {target(row): row.group for row in rows if row.kept}
        names = [known.get(photo.path.relative_to(data).as_posix(), "") for photo in photos]
        if any(names):
            return _numbered(photos, names, f"groups of {manifest.NAME}")
    return _numbered(photos, [""] * len(photos), "photos, as no groups are known")


def _numbered(photos: Sequence[Photo], names: Sequence[str], how: str) -> Groups:
    # A group is named; a photo of none is keyed by its path, which no name can equal.
    keys = [name or photo.path for name, photo in zip(names, photos, strict=True)]
    order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return Groups(np.array([order[key] for key in keys], np.int64), f"{len(order)} {how}")
