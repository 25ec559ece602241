"""Which photos belong together: frames of one clip, say, which are right or wrong together.

Intervals drawn over photos as if each were a new case are too narrow where photos come in groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data import manifest
from training.data.photos import Photo, groups_of


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
    """Group photos as training does (`training.data.photos.groups_of`).

    Raises:
        InputError: `regex` is none, or finds nothing in any name.
    """
    names = groups_of(data, photos, regex)
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    how = f"groups by {regex}" if regex is not None else f"groups of {manifest.NAME}"
    if regex is None and len(order) == len(photos):
        how = "photos, as no groups are known"
    return Groups(np.array([order[name] for name in names], np.int64), f"{len(order)} {how}")
