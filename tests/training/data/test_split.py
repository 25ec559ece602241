"""Stratified, seeded, and nothing that belongs together on both sides."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@st.composite
def piles(draw: st.DrawFn) -> tuple[list[Row], list[tuple[Row, Row]]]:
    """Photos of three classes in any groups, some dropped, some nearly the same, in any order."""
    groups = st.sampled_from(["", "", "g1", "g2", "g3", "g4"])
    made = draw(st.lists(st.tuples(st.sampled_from("abc"), groups, st.booleans()), min_size=2))
    rows = [Row(f"{i}", name, group=group) for i, (name, group, _) in enumerate(made)]
    for row, (_, _, dropped) in zip(rows[2:], made[2:], strict=True):
        if dropped:
            row.drop(Reason.TOO_SMALL)
    place = st.integers(0, len(rows) - 1)
    pairs = draw(st.lists(st.tuples(place, place), max_size=6))
    return rows, [(rows[i], rows[j]) for i, j in pairs]


@given(pile=piles(), share=st.floats(0.05, 0.95), seed=st.integers(0, 9))
def test_nothing_that_belongs_together_is_ever_on_both_sides(
    pile: tuple[list[Row], list[tuple[Row, Row]]], share: float, seed: int
) -> None:
    rows, near = pile
    split(rows, near, PrepareSettings(test_share=share, seed=seed))
    together = components(rows, near)
    for own in together:
        assert len({row.split for row in own if row.kept}) <= 1
    assert all((row.split in ("train", "test")) == row.kept for row in rows)
    for name in {row.class_name for row in rows if row.kept}:
        assert "train" in {row.split for row in rows if row.kept and row.class_name == name}


def components(rows: list[Row], near: list[tuple[Row, Row]]) -> list[list[Row]]:
    """Photos that are joined by a group or by nearness, by following one join after the other."""
    left, found = list(rows), []
    while left:
        own = [left.pop()]
        for row in own:  # which grows
            joined = [
                other
                for other in left
                if (row.group and other.group == row.group)
                or any({row.path, other.path} == {one.path, two.path} for one, two in near)
            ]
            own += joined
            left = [other for other in left if other not in joined]
        found.append(own)
    return found


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
