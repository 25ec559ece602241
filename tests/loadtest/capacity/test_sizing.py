"""Machines and costs, from a knee."""

import pytest

from loadtest.capacity.sizing import core_hours, machines


@pytest.mark.parametrize(
    ("rate", "knee", "headroom", "spare", "count"),
    [
        (1000, 400, 0.3, 1, 5),  # 280 each: 4 sustain 1120, and one may be down
        (1000, 400, 0.0, 0, 3),
        (280, 400, 0.3, 0, 1),
        (281, 400, 0.3, 0, 2),
        (1, 400, 0.3, 1, 2),
    ],
)
def test_machines(rate: float, knee: float, headroom: float, spare: int, count: int) -> None:
    assert machines(rate, knee, headroom, spare) == count


def test_core_hours() -> None:
    assert core_hours(3.6) == 1.0
    assert core_hours(7.2, 500_000) == 1.0
