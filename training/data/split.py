"""Train and test: stratified, seeded, and never with near duplicates or one group on both sides.

Photos that come as validation photos stay that, and are looked at for leaks.

Photos that belong together (near duplicates, and those of one group: see `grouping`) form a unit. In
seeded order each unit goes to the test split if that brings the classes' counts nearer to their targets
and leaves something of each class.
scikit-learn's StratifiedGroupKFold has shares of 1/k only.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from model.layout import SPLITS, TEST, TRAIN, VALIDATION
from training.data.manifest import Reason, Row
from training.data.prepare.settings import PrepareSettings

ENOUGH = 20  # training photos of a class from which a model can be expected

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Leak:
    """What is in two splits. `open` if it still is, after cleaning."""

    kind: str
    train: str  # a path; of validation and test, the one in validation
    test: str  # of train and validation, the one in validation
    open: bool
    group: str = ""


def split(rows: Sequence[Row], near: Iterable[tuple[Row, Row]], settings: PrepareSettings) -> None:
    """Make each kept row that has no split one of train or test."""
    kept = [row for row in rows if row.kept and not row.split]
    unit_of = _units(rows, near)
    _, units = np.unique([unit_of[row.path] for row in kept], return_inverse=True)
    _, labels = np.unique([row.class_name for row in kept], return_inverse=True)
    chosen = choose(units, labels, settings.test_share, settings.seed)
    for row, test in zip(kept, chosen.tolist(), strict=True):
        row.split = TEST if test else TRAIN


def leaks(rows: Sequence[Row], near: Iterable[tuple[Row, Row]], given: Container[str]) -> list[Leak]:
    """List what is in two of the splits that were `given`, copies that cleaning dropped included."""

    def side(row: Row) -> int:  # what is split here has train and test apart, and is one side of it
        return SPLITS.index(row.split if TEST in given or row.split == VALIDATION else TRAIN)

    by_path = {row.path: row for row in rows}
    exact = [(r, by_path[r.other]) for r in rows if r.other and r.sha256 == by_path[r.other].sha256]
    found: dict[tuple[str, str], Leak] = {}
    for kind, pairs in ((Reason.DUPLICATE, exact), (Reason.NEAR, near)):
        for one, two in pairs:
            if side(one) != side(two):
                train, test = sorted((one, two), key=side)
                leak = Leak(kind, train.path, test.path, train.kept and test.kept)
                found.setdefault((train.path, test.path), leak)
    return [*(found[key] for key in sorted(found)), *_group_leaks(rows, side)]


def _group_leaks(rows: Sequence[Row], side: Callable[[Row], int]) -> list[Leak]:
    sides: dict[str, dict[int, str]] = defaultdict(dict)
    for row in rows:
        if row.kept and row.group:
            sides[row.group].setdefault(side(row), row.path)
    return [
        Leak("group", first[one], first[two], True, group)
        for group, first in sorted(sides.items())
        for one, two in combinations(sorted(first), 2)
    ]


def _units(rows: Sequence[Row], near: Iterable[tuple[Row, Row]]) -> dict[str, int]:
    """Number the units by path: connected by nearness or group, through dropped photos too."""
    index = {row.path: i for i, row in enumerate(rows)}
    first: dict[str, int] = {}
    edges = [(index[one.path], index[two.path]) for one, two in near]
    edges += [(i, first.setdefault(row.group, i)) for i, row in enumerate(rows) if row.group]
    return dict(zip(index, connect(edges, len(rows)).tolist(), strict=True))


def connect(edges: Sequence[tuple[int, ...]], count: int) -> Indices:
    """Number what is connected, (count,), by pairs of places."""
    ends = np.array(edges, np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def few_photos(counts: Mapping[str, int]) -> str:
    """Warn of classes with fewer than `ENOUGH` training photos; "" if there is none."""
    few = {name: n for name, n in counts.items() if n < ENOUGH}
    if not few:
        return ""
    own = ", ".join(f"{name!r} {n}" for name, n in list(few.items())[:5])
    return (
        f"{len(few)} of {len(counts)} classes have fewer than {ENOUGH} training photos ({own}): what is "
        "learned from them, and what is measured on them, is little more than chance; add photos"
    )


def number(names: Sequence[str]) -> Indices:
    """Number names from 0 in the order in which they first come."""
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


def choose(units: Indices, labels: Indices, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Choose about `share` of each class's photos, units as a whole.

    Args:
        units: (photos,) number of each photo's unit, from 0 without gaps.
        labels: (photos,) its class.
        share: of the photos.
        seed: of the order in which units are looked at.

    Returns:
        (photos,) whether it is chosen.
    """
    counts = np.zeros((units.max() + 1, labels.max() + 1), np.int64)
    np.add.at(counts, (units, labels), 1)
    total = counts.sum(axis=0)
    target = np.clip(np.rint(total * share), 1, np.maximum(total - 1, 1))
    chosen = np.zeros(len(counts), bool)
    missing, rest = target.astype(np.int64), total.copy()

    def take(unit: np.int64) -> bool:
        own = counts[unit] > 0
        if (counts[unit] == rest)[own].any():  # of some class nothing would be left
            return False
        chosen[unit] = True
        np.subtract(missing, counts[unit], out=missing)
        np.subtract(rest, counts[unit], out=rest)
        return True

    for unit in np.random.default_rng(seed).permutation(len(counts)):
        if np.abs(missing - counts[unit]).sum() < np.abs(missing).sum():
            take(unit)
    for label in range(len(total)):
        if not counts[chosen, label].any():  # the smallest unit of this class that can be taken
            having = np.flatnonzero(counts[:, label])
            any(map(take, having[np.argsort(counts[having].sum(axis=1), kind="stable")]))
    return chosen[units]
