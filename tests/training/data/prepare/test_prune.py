"""The rule of pruning: what is rare and small goes, and only that."""

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


def dropped(rows: list[Row]) -> set[str]:
    return {row.path.partition("-")[0] for row in rows if not row.kept}


def test_what_is_rare_and_small_is_dropped() -> None:
    """Thumbnails, banners and placeholders; not the few that are very large, nor those of usual size."""
    rows = rows_of(
        "a",
        *((4000, 60_000, 480, 640), (1000, 150_000, 900, 1200), (500, 12_000, 200, 260)),
        *((15, 4_100, 90, 120), (8, 9_000, 60, 468), (5, 1_500, 400, 400)),
        *((72, 9_000_000, 4000, 6000), (3, 11_000_000, 900, 12_000)),
    )
    clusters, _ = prune(rows, PrepareSettings())
    assert dropped(rows) == {"a/4100", "a/9000", "a/1500"}
    assert sum(not row.kept for row in rows) == 28
    assert {row.reason for row in rows if not row.kept} == {Reason.PRUNED}
    small = [c for c in clusters if c.small]
    assert [(c.kind, c.number, c.photos, c.kept) for c in small] == [
        ("bytes", 0, 5, False),
        ("sides", 0, 23, False),
    ]
    assert all(c.kept for c in clusters if not c.small)
    placeholder = next(row for row in rows if row.path == "a/1500-0")
    why = "rare and small: a file under a sixteenth of the class's median, like 0.09% of the class"
    assert (placeholder.detail, placeholder.cluster[:2]) == (why, "b0")


def test_what_is_small_and_common_stays() -> None:
    rows = rows_of("a", (900, 60_000, 480, 640), (30, 4_100, 90, 120))
    clusters, _ = prune(rows, PrepareSettings())
    assert all(row.kept for row in rows)
    assert [(c.photos, c.kept) for c in clusters if c.small and c.kind == "sides"] == [(30, True)]
    prune(rows, PrepareSettings(prune_share=0.05))
    assert dropped(rows) == {"a/4100"}


def test_no_photo_of_the_usual_size_hangs_on_a_share() -> None:
    """The clusters may be as rare as they like: with any number of them, from any seed."""
    for count in (None, 2, 5, 10):
        for seed in range(3):
            rows = rows_of(
                "a", (5000, 60_000, 480, 640), (110, 200_000, 300, 1900), (20, 16_000, 130, 170)
            )
            prune(rows, PrepareSettings(clusters=count, seed=seed))
            assert all(row.kept for row in rows)


def test_the_rule_is_the_same_for_all_classes() -> None:
    parts = (400, 60_000, 480, 640), (4, 4_100, 90, 120)
    large = [(n, 100 * size, 10 * height, 10 * width) for n, size, height, width in parts]
    rows = rows_of("a", *parts) + rows_of("b", *large)
    prune(rows, PrepareSettings())
    assert dropped(rows) == {"a/4100", "b/410000"}


def test_sides_of_two_kinds_are_no_small_ones() -> None:
    """Half are tall and half wide, so that each is under a quarter of a median."""
    rows = rows_of("a", (100, 9000, 40, 900), (100, 9000, 900, 40), (1, 9000, 900, 900))
    clusters, _ = prune(rows, PrepareSettings())
    assert all(row.kept for row in rows)
    assert not any(c.small for c in clusters)


def test_the_elbow_is_where_one_more_cluster_explains_little() -> None:
    rows = rows_of("a", (50, 1000, 50, 50), (50, 8000, 150, 150), (50, 64_000, 450, 450))
    _, elbows = prune(rows, PrepareSettings(prune_share=0.0))
    assert [(e.kind, e.chosen) for e in elbows] == [("bytes", 3), ("sides", 3)]
    assert all(e.left[0] == 1 and e.left[2] < 0.05 for e in elbows)
    again = rows_of("a", (50, 1000, 50, 50), (50, 8000, 150, 150), (50, 64_000, 450, 450))
    _, elbows = prune(again, PrepareSettings(clusters=2))
    assert [e.chosen for e in elbows] == [2, 2]
    assert {row.cluster for row in again} <= {"b0s0", "b0s1", "b1s0", "b1s1"}


def test_a_share_of_nothing_drops_nothing() -> None:
    rows = rows_of("a", (199, 50_000, 300, 400), (1, 900, 20, 20))
    prune(rows, PrepareSettings(prune_share=0.0))
    assert all(row.kept for row in rows)


def test_classes_are_pruned_apart_and_small_ones_not_at_all() -> None:
    rows = rows_of("a", (100, 50_000, 300, 400)) + rows_of("b", (90, 900, 30, 40), (5, 80_000, 900, 900))
    clusters, _ = prune(rows, PrepareSettings())
    assert {c.class_name for c in clusters} == {"a"}
    assert all(row.kept and not row.cluster for row in rows if row.class_name == "b")


def test_photos_all_alike_are_one_cluster() -> None:
    rows = [Row(str(i), "a", bytes=10, width=40, height=40) for i in range(100)]
    clusters, _ = prune(rows, PrepareSettings())
    assert [(c.kind, c.number, c.photos) for c in clusters] == [("bytes", 0, 100), ("sides", 0, 100)]


def test_the_same_seed_gives_the_same_clusters() -> None:
    first, second = (rows_of("a", (80, 9000, 90, 90), (40, 20_000, 150, 200)) for _ in range(2))
    assert prune(first, PrepareSettings(seed=3)) == prune(second, PrepareSettings(seed=3))
    assert first == second
