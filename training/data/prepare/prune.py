"""Pruning by file size, and by height and width: what is rare and small in its class is a thumbnail.

Small is a file of less than a sixteenth of the class's median, or a side of less than a quarter; rare,
when less than `prune_share` of the class is that small. What is rare and small is dropped: thumbnails,
banners, placeholders. What is rare and large is a good photo and stays, and so does what is small and
common. The rule is the same for all classes.

K-Means parts the other photos into clusters, for people to look at. It doesn't decide, as its clusters
follow the many: 15 thumbnails among 5,000 photos get none of their own, 72 very large photos do. Sizes
are compared as logarithms, so that twice the size is as far as half.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from training.data.manifest import Reason, Row
from training.data.prepare.settings import MAX_CLUSTERS, PrepareSettings

MIN_PHOTOS = 100  # a class with fewer isn't pruned: one photo would be more than a rare size
STARTS = 2  # of K-Means; the best is taken
SMALL = {"bytes": 16, "sides": 4}  # times less than the class's median; a quarter of both sides
ELBOW = 0.05  # a cluster that explains less of the variance than this is one too many
STEP = 0.02  # sizes within 5 % are clustered as one, which takes a tenth of the time

Values = npt.NDArray[np.float64]  # (N, features), logarithms to base 10
Numbers = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Cluster:
    """One cluster of a class; `kind` is "bytes" or "sides", `centre` bytes, or height and width."""

    class_name: str
    kind: str
    number: int  # from the smallest up
    centre: tuple[int, ...]
    photos: int
    share: float
    kept: bool
    small: bool = False  # it holds what is small, and nothing else


@dataclass(frozen=True)
class Elbow:
    """The curve by which the number of a class's clusters was chosen.

    `left` is the share of the variance that is left within 1, 2, ... clusters; chosen is the last that
    takes at least `ELBOW` of it (Thorndike, "Who Belongs in the Family?", Psychometrika 18, 1953), or
    what the settings say.
    """

    class_name: str
    kind: str
    left: tuple[float, ...]
    chosen: int


def prune(rows: Sequence[Row], settings: PrepareSettings) -> tuple[list[Cluster], list[Elbow]]:
    """Cluster the kept rows, class by class, and drop what is rare and small."""
    by_class: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.kept:
            by_class[row.class_name].append(row)
    clusters: list[Cluster] = []
    elbows: list[Elbow] = []
    with threadpool_limits(1):  # sums in one order, so the same clusters on any number of cores
        for name, own in sorted(by_class.items()):
            if len(own) < MIN_PHOTOS:
                continue
            sizes = {"bytes": [[r.bytes] for r in own], "sides": [[r.height, r.width] for r in own]}
            parts = [_cluster(name, kind, np.log10(v), settings) for kind, v in sizes.items()]
            for row, *numbers in zip(own, *(part[0].tolist() for part in parts), strict=True):
                row.cluster = "b{}s{}".format(*numbers)
                for number, (_, found, _) in zip(numbers, parts, strict=True):
                    if row.kept and not found[number].kept:
                        row.drop(Reason.PRUNED, _explain(found[number]))
            clusters += [cluster for _, found, _ in parts for cluster in found]
            elbows += [elbow for *_, elbow in parts]
    return clusters, elbows


def _explain(cluster: Cluster) -> str:
    than = "file under a sixteenth" if cluster.kind == "bytes" else "side under a quarter"
    return f"rare and small: a {than} of the class's median, like {cluster.share:.2%} of the class"


def _cluster(
    name: str, kind: str, values: Values, settings: PrepareSettings
) -> tuple[Numbers, list[Cluster], Elbow]:
    """Number each row's cluster, (N,), from small to large; what is small is one of its own."""
    small = (values < np.median(values, axis=0) - np.log10(SMALL[kind])).any(axis=1)
    if small.mean() >= 0.5:  # of heights and widths that don't go together
        small[:] = False
    others, centres, elbow = _k_means(name, kind, values[~small], settings)
    numbers = np.zeros(len(values), np.intp)
    numbers[~small] = others + small.any()
    if small.any():
        centres = np.concatenate([values[small].mean(axis=0, keepdims=True), centres])
    shares = np.bincount(numbers, minlength=len(centres)) / len(values)
    found = []
    for number, (centre, share) in enumerate(zip(10**centres, shares.tolist(), strict=True)):
        is_small = number == 0 and bool(small.any())
        facts = tuple(round(v) for v in centre.tolist()), round(share * len(values)), share
        kept = not is_small or share >= settings.prune_share
        found.append(Cluster(name, kind, number, *facts, kept, is_small))
    return numbers, found, elbow


def _k_means(
    name: str, kind: str, values: Values, settings: PrepareSettings
) -> tuple[Numbers, Values, Elbow]:
    """Number each row's cluster, (N,), and return the centres, (K, features), from small to large."""
    steps, place, counts = np.unique(
        np.rint(values / STEP), axis=0, return_inverse=True, return_counts=True
    )
    tried = [
        KMeans(k, n_init=STARTS, random_state=settings.seed).fit(steps * STEP, sample_weight=counts)
        for k in range(1, min(MAX_CLUSTERS, len(steps)) + 1)
    ]
    inertia = np.array([means.inertia_ for means in tried])
    left = inertia / inertia[0] if inertia[0] else np.zeros(len(tried))
    chosen = 1 + int(np.flatnonzero(-np.diff(left, prepend=1 + ELBOW) >= ELBOW).max())
    chosen = min(settings.clusters or chosen, len(tried))
    means = tried[chosen - 1]
    order = np.argsort(means.cluster_centers_.sum(axis=1), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(chosen)
    elbow = Elbow(name, kind, tuple(left.tolist()), chosen)
    return rank[means.labels_[place.ravel()]], means.cluster_centers_[order], elbow
