"""Stratified, seeded, and nothing that belongs together on both sides."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from training.data.manifest import Reason, Row
from training.data.prepare.settings import PrepareSettings
from training.data.split import leaks, split


def rows_of(counts: dict[str, int], group_size: int = 1) -> list[Row]:
    return [
        Row(
            f"{name}/{i}",
            name,
            group=f"{name}{i // group_size}" if group_size > 1 else "",
            sha256=f"{name}{i}",
        )
        for name, count in counts.items()
        for i in range(count)
    ]


def test_shares_hold_in_every_class() -> None:
    rows = rows_of({"a": 100, "b": 50, "c": 3})
    split(rows, [], PrepareSettings(test_share=0.2))
    assert Counter((r.class_name, r.split) for r in rows) == {
        **{("a", "train"): 80, ("a", "test"): 20, ("b", "train"): 40, ("b", "test"): 10},
        **{("c", "train"): 2, ("c", "test"): 1},
    }


def test_decided_by_the_seed() -> None:
    def chosen(seed: int) -> list[str]:
        rows = rows_of({"a": 50, "b": 50})
        split(rows, [], PrepareSettings(seed=seed))
        return [row.split for row in rows]

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)


@pytest.mark.parametrize("seed", range(5))
def test_groups_and_near_duplicates_stay_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rows_of({"a": 200, "b": 120}, group_size=7)
    near = [(rows[i], rows[j]) for i, j in rng.integers(0, 320, (10, 2))]
    split(rows, near, PrepareSettings(test_share=0.25, seed=seed))
    sides = defaultdict(set)
    for row in rows:
        sides[row.group].add(row.split)
    assert {len(side) for side in sides.values()} == {1}
    assert all(one.split == two.split for one, two in near)
    for name, count in (("a", 200), ("b", 120)):
        test = sum(r.class_name == name and r.split == "test" for r in rows)
        assert abs(test - 0.25 * count) <= 14  # two groups


def test_photos_joined_by_a_dropped_one_stay_together() -> None:
    for seed in range(10):
        rows = rows_of({"a": 10, "b": 10})
        rows[1].drop(Reason.NEAR, other="a/0")
        split(rows, [(rows[0], rows[1]), (rows[1], rows[2])], PrepareSettings(test_share=0.5, seed=seed))
        assert rows[0].split == rows[2].split
        assert rows[1].split == ""  # what is dropped is on no side


def test_a_class_of_two_large_groups_is_on_both_sides() -> None:
    rows = rows_of({"a": 20, "b": 20}, group_size=10)
    split(rows, [], PrepareSettings(test_share=0.1))
    assert Counter((r.class_name, r.split) for r in rows) == dict.fromkeys(
        [(c, s) for c in "ab" for s in ("train", "test")], 10
    )


def test_a_class_of_one_group_stays_in_train() -> None:
    rows = rows_of({"a": 10}, group_size=10) + rows_of({"b": 10})
    split(rows, [], PrepareSettings(test_share=0.2))
    assert {r.split for r in rows if r.class_name == "a"} == {"train"}


def test_leaks_of_a_given_split() -> None:
    rows = [Row(f"{s}/a/{i}", "a", s, f"g{i}", f"{s}{i}") for s in ("train", "test") for i in range(3)]
    train, test = rows[:3], rows[3:]
    test[0].group, test[1].group, test[2].group = "x", "g1", "y"
    train[0].sha256 = test[0].sha256
    train[0].drop(Reason.DUPLICATE, other=test[0].path)
    found = leaks(rows, [(train[2], test[2]), (train[1], train[2])], ("train", "test"))
    assert [(leak.kind, leak.train, leak.test, leak.open, leak.group) for leak in found] == [
        ("exact duplicate", "train/a/0", "test/a/0", False, ""),
        ("near duplicate", "train/a/2", "test/a/2", True, ""),
        ("group", "train/a/1", "test/a/1", True, "g1"),
    ]
