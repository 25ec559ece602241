"""Which photos belong together, whatever class folder they are in: a wrong label is in another one.

`training.data.grouping` notices groups within classes. A frame that was filed under a wrong class is of
its clip all the same, so groups of one name are joined across classes, if their photos look alike: clips
that are called `clip_1` in every class don't. Near duplicates belong together too.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from report.intervals import Ints
from training.data.grouping import ALIKE, Look, stems
from training.data.manifest import Row
from training.data.photo_groups import groups_of
from training.data.photos import Photo
from training.data.prepare.near import Pairs
from training.data.split import connect, number
from training.suspects.left_out import Features, root

_SAMPLE = 2000  # pairs that are compared


def find_units(
    data: Path, rows: Sequence[Row], near: Pairs, group_regex: str | None, features: Features
) -> Ints:
    """Number the unit of each photo, (N,): groups by `group_regex` or noticed, with near duplicates."""
    photos = [Photo(data / row.path, 0, Look(row.colour, row.taken)) for row in rows]
    groups = list(groups_of(data, photos, group_regex))
    if group_regex is None:
        groups = _join_classes(rows, groups, features)
    numbers = number(groups)
    first: dict[int, int] = {}
    edges = [(i, first.setdefault(n, i)) for i, n in enumerate(numbers.tolist())]
    return connect([*edges, *map(tuple, near.tolist())], len(rows))


def _join_classes(rows: Sequence[Row], groups: list[str], features: Features) -> list[str]:
    """Join groups of one name across classes, if their photos are alike."""
    grouped = {name for name, row in zip(groups, rows, strict=True) if name != row.path}
    names = {name.partition("/")[2] for name in grouped}
    joined = [_shared_name(row, name, names) for row, name in zip(rows, groups, strict=True)]
    return joined if _are_alike(rows, joined, features) else groups


def _shared_name(row: Row, group: str, names: set[str]) -> str:
    if group != row.path:
        return group.partition("/")[2] or group
    return next((stem for stem in reversed([*stems(row.file)]) if stem in names), group)


def _are_alike(rows: Sequence[Row], groups: Sequence[str], features: Features) -> bool:
    """Compare photos of one name and two classes with photos of two names and these classes.

    The chance that the first are nearer, as `grouping` has it of colours.
    """
    members: dict[str, dict[str, int]] = defaultdict(dict)  # of a name: a photo of each class
    of_class: dict[str, list[int]] = defaultdict(list)
    for photo, (row, name) in enumerate(zip(rows, groups, strict=True)):
        members[name].setdefault(row.class_name, photo)
        of_class[row.class_name].append(photo)
    pairs = [pair for own in members.values() for pair in combinations(own.values(), 2)][:_SAMPLE]
    if not pairs:
        return False
    rng = np.random.default_rng(0)
    others = [(i, int(rng.choice(of_class[rows[j].class_name]))) for i, j in pairs]
    ends = np.array(pairs + others)
    one, two = (_unit_length(features[ends[:, side]]) for side in (0, 1))
    ranks = rankdata((one * two).sum(axis=1))  # of the similarities
    wins = ranks[: len(pairs)].sum() - len(pairs) * (len(pairs) + 1) / 2
    return bool(wins / len(pairs) ** 2 >= ALIKE)


def _unit_length(features: Features) -> Features:
    roots = root(features)
    length = np.linalg.norm(roots, axis=1, keepdims=True)
    return np.asarray(roots / np.maximum(length, 1e-9), np.float32)


def find_neighbours(
    features: Features, labels: Ints, units: Ints, photos: Ints, wanted: Ints, count: int
) -> list[list[int]]:
    """For each of `photos` find the nearest photos with the label `wanted`, each of another unit."""
    found: list[list[int]] = [[] for _ in photos]
    for label in np.unique(wanted):
        own = np.flatnonzero(labels == label)
        theirs = _unit_length(features[own])
        asked = np.flatnonzero(wanted == label)
        for start in range(0, len(asked), 256):
            places = asked[start : start + 256]
            likeness = _unit_length(features[photos[places]]) @ theirs.T
            likeness[photos[places][:, None] == own] = -1
            for place, row in zip(places, likeness, strict=True):
                best = own[np.argsort(-row)[: 20 * count]]
                first = np.unique(units[best], return_index=True)[1]
                found[place] = best[np.sort(first)][:count].tolist()
    return found
