"""The axes of the tuning page's charts."""

import itertools

import pytest

from loadtest.tune.page import Axis


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [
        (10, 2000, ["10", "20", "50", "100", "200", "500", "1000", "2000"]),
        (110, 350, ["150", "200", "250", "300"]),
        (0.3, 0.7, ["0.3", "0.4", "0.5", "0.6"]),
    ],
)
def test_a_logarithmic_axis_has_several_round_values(low: float, high: float, values: list[str]) -> None:
    ticks = Axis(low, high, 0, 600, log=True).ticks()
    assert [text for _, text in ticks] == values
    assert all(0 <= a < b <= 600 for (a, _), (b, _) in itertools.pairwise(ticks))


def test_a_linear_axis_has_equal_steps() -> None:
    ticks = Axis(0, 200, 100, 0).ticks()
    assert ticks == [(100, "0"), (75, "50"), (50, "100"), (25, "150"), (0, "200")]
