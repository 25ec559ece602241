"""Pruning: K-Means over log file size, and over height and width, for each class.

The rule: a cluster that holds less than `prune_share` of its class is dropped. What is rare in size is
mostly something else: thumbnails, banners, scans. A photo stays if both its clusters do.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from training.data.manifest import Reason, Row
from training.data.prepare.settings import PrepareSettings

MIN_PHOTOS = 100  # a class with fewer isn't pruned: its clusters would be of single photos
STARTS = 4  # of K-Means; the best is taken

Values = npt.NDArray[np.float64]  # (N, features)


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


def prune(rows: Sequence[Row], settings: PrepareSettings) -> list[Cluster]:
    """Cluster the kept rows, class by class, and drop the photos of clusters under the share."""
    by_class: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.kept:
            by_class[row.class_name].append(row)
    clusters: list[Cluster] = []
    with threadpool_limits(1):  # sums in one order, so the same clusters on any number of cores
        for name, own in sorted(by_class.items()):
            if len(own) >= MIN_PHOTOS:
                clusters += _prune_class(name, own, settings)
    return clusters


def _prune_class(name: str, rows: list[Row], settings: PrepareSettings) -> list[Cluster]:
    log_bytes = np.log10([[row.bytes] for row in rows])
    sides = np.array([[row.height, row.width] for row in rows], np.float64)
    by_bytes, size_centres = _cluster(log_bytes, settings)
    by_sides, side_centres = _cluster(sides, settings)
    clusters = [
        *_describe(name, "bytes", by_bytes, 10**size_centres, settings.prune_share),
        *_describe(name, "sides", by_sides, side_centres, settings.prune_share),
    ]
    dropped = {(c.kind, c.number): c for c in clusters if not c.kept}
    for row, b, s in zip(rows, by_bytes.tolist(), by_sides.tolist(), strict=True):
        row.cluster = f"b{b}s{s}"
        if small := dropped.get(("bytes", b)) or dropped.get(("sides", s)):
            row.drop(
                Reason.PRUNED,
                f"its {small.kind} cluster has {small.share:.1%} of the class, "
                f"at least {settings.prune_share:.1%} is required",
            )
    return clusters


def _cluster(values: Values, settings: PrepareSettings) -> tuple[npt.NDArray[np.intp], Values]:
    """Number each row's cluster, (N,), and return the centres, (K, features), from small to large."""
    count = min(settings.clusters, len(np.unique(values, axis=0)))
    means = KMeans(count, n_init=STARTS, random_state=settings.seed)
    found = means.fit_predict(values)
    order = np.argsort(means.cluster_centers_.sum(axis=1), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(count)
    return rank[found], means.cluster_centers_[order]


def _describe(
    name: str, kind: str, numbers: npt.NDArray[np.intp], centres: Values, least: float
) -> list[Cluster]:
    counts = np.bincount(numbers, minlength=len(centres))
    shares = counts / len(numbers)
    return [
        Cluster(
            name, kind, i, tuple(round(v) for v in centre), int(n), float(share), bool(share >= least)
        )
        for i, (centre, n, share) in enumerate(zip(centres.tolist(), counts, shares, strict=True))
    ]
