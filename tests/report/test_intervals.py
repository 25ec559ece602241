"""Intervals over groups: by hand for single photos, and how often they hold what was drawn."""

import numpy as np
import pytest

from report.intervals import SHARE, mean_interval, sum_groups


def test_single_photos_have_the_interval_of_agresti_and_caffo() -> None:
    """One photo more that is right and one that is wrong; n is large, so t is z."""
    n, right = 4000, 3900
    sizes, sums = sum_groups(np.arange(n) < right, np.arange(n))
    share = (right + 1) / (n + 2)
    reach = 1.96 * np.sqrt(share * (1 - share) / (n + 2))
    assert mean_interval(sizes, sums, SHARE) == pytest.approx((share - reach, share + reach), abs=5e-6)


def test_the_mean_of_anything_has_the_usual_interval() -> None:
    """Nothing added: Student's t, of n values that are a group each."""
    values = np.array([1.0, 2.0, 4.0, 9.0])
    reach = 3.182446305 * values.std(ddof=1) / 2  # t of 0.975 with 3 degrees of freedom
    assert mean_interval(np.ones(4), values) == pytest.approx((4 - reach, 4 + reach))


def test_copies_of_a_photo_say_no_more_than_it() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(300) < 0.8
    once = mean_interval(*sum_groups(right, np.arange(300)), SHARE)
    ten = mean_interval(*sum_groups(np.repeat(right, 10), np.repeat(np.arange(300), 10)), SHARE)
    assert ten == pytest.approx(once)


@pytest.mark.parametrize("groups", [0, 1])
def test_fewer_than_two_groups_say_nothing(groups: int) -> None:
    sizes = np.array([0.0, *[50.0] * groups])  # one that is empty is none
    assert mean_interval(sizes, sizes, SHARE, (0.0, 1.0)) == (0, 1)


@pytest.mark.parametrize("groups", [2, 5, 60, 4000])
def test_all_right_is_not_certain_and_is_inside(groups: int) -> None:
    sizes = np.full(groups, 8.0)
    low, high = mean_interval(sizes, sizes, SHARE, (0.0, 1.0))
    assert high == 1
    assert 1 - low >= 2 / groups


@pytest.mark.parametrize(
    ("groups", "share", "spread"),
    [(6, 0.9, 0), (12, 0.95, 0.7), (20, 0.98, 0.5), (63, 0.92, 0.2), (63, 0.92, 1), (250, 0.97, 0.5)],
)
def test_the_interval_holds_the_truth(groups: int, share: float, spread: float) -> None:
    """8 photos a group or, with a spread, very unlike numbers; intraclass correlation 0.3."""
    rng, precision, held = np.random.default_rng(groups), (1 - 0.3) / 0.3, []
    for _ in range(400):
        rates = rng.beta(precision * share, precision * (1 - share), groups)
        sizes = np.maximum(1, np.round(8 * np.exp(spread * rng.standard_normal(groups))))
        sums = rng.binomial(sizes.astype(int), rates).astype(float)
        low, high = mean_interval(sizes, sums, SHARE, (0.0, 1.0))
        held.append(low <= share <= high)
    assert np.mean(held) >= 0.94
