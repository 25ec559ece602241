"""The rule of pruning: small clusters go, and only they."""

import numpy as np

from training.data.manifest import Reason, Row
from training.data.prepare.prune import prune
from training.data.prepare.settings import PrepareSettings


def rows_of(name: str, *parts: tuple[int, int, int, int]) -> list[Row]:
    """Parts of (count, bytes, height, width), each with a little spread."""
    rng = np.random.default_rng(len(parts))
    rows = []
    for count, size, height, width in parts:
        for i in range(count):
            spread = rng.uniform(0.95, 1.05, 3)
            facts = {"bytes": int(size * spread[0]), "height": int(height * spread[1])}
            rows.append(Row(f"{name}/{size}-{i}", name, width=int(width * spread[2]), **facts))
    return rows


def test_the_cluster_under_the_share_is_dropped() -> None:
    rows = rows_of("a", (98, 50_000, 300, 400), (2, 900, 300, 400))
    clusters = prune(rows, PrepareSettings(clusters=2, prune_share=0.05))
    dropped = [row for row in rows if not row.kept]
    assert {row.path for row in dropped} == {"a/900-0", "a/900-1"}
    assert {row.reason for row in dropped} == {Reason.PRUNED}
    assert "bytes cluster has 2.0% of the class, at least 5.0%" in dropped[0].detail
    small, large = (c for c in clusters if c.kind == "bytes")
    assert (small.number, small.photos, small.kept) == (0, 2, False)
    assert (large.number, large.photos, large.kept) == (1, 98, True)
    assert 800 < small.centre[0] < 1000


def test_sides_are_clustered_on_their_own() -> None:
    rows = rows_of("a", (97, 50_000, 300, 400), (3, 50_000, 60, 2000))
    clusters = prune(rows, PrepareSettings(clusters=2, prune_share=0.05))
    assert [row.path for row in rows if not row.kept] == [f"a/50000-{i}" for i in range(3)]
    (dropped,) = (c for c in clusters if not c.kept)
    assert (dropped.kind, dropped.photos) == ("sides", 3)
    assert abs(dropped.centre[0] - 60) < 6
    assert {row.cluster[2:] for row in rows} == {"s0", "s1"}


def test_a_share_of_nothing_drops_nothing() -> None:
    rows = rows_of("a", (99, 50_000, 300, 400), (1, 900, 20, 20))
    prune(rows, PrepareSettings(clusters=2, prune_share=0.0))
    assert all(row.kept for row in rows)


def test_classes_are_pruned_apart_and_small_ones_not_at_all() -> None:
    rows = rows_of("a", (100, 50_000, 300, 400)) + rows_of("b", (90, 900, 30, 40), (5, 80_000, 900, 900))
    clusters = prune(rows, PrepareSettings())
    assert {c.class_name for c in clusters} == {"a"}
    assert all(row.kept and not row.cluster for row in rows if row.class_name == "b")


def test_photos_all_alike_are_one_cluster() -> None:
    rows = [Row(str(i), "a", bytes=10, width=40, height=40) for i in range(100)]
    clusters = prune(rows, PrepareSettings())
    assert [(c.kind, c.number, c.photos) for c in clusters] == [("bytes", 0, 100), ("sides", 0, 100)]


def test_the_same_seed_gives_the_same_clusters() -> None:
    first, second = (rows_of("a", (80, 9000, 90, 90), (40, 20_000, 150, 200)) for _ in range(2))
    assert prune(first, PrepareSettings(seed=3)) == prune(second, PrepareSettings(seed=3))
    assert first == second
