"""Growth of a figure that is known to grow, or not to."""

import numpy as np
import pytest

from benchmarks.reliability.trends import fit_trend

TIMES = [12.0 * number for number in range(240)]  # 48 minutes


def noise(seed: int, size: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, size, len(TIMES))


@pytest.mark.parametrize(
    ("per_hour", "limit", "verdict"), [(0, 10, "holds"), (60, 10, "grows"), (-60, 10, "holds")]
)
def test_the_line_and_its_verdict(per_hour: float, limit: float, verdict: str) -> None:
    values = 100 + np.asarray(TIMES) / 3600 * per_hour + noise(1, 5)
    values[[5, 50, 200]] += 1000  # a rollout
    trend = fit_trend(TIMES, list(values), limit)
    assert trend.per_hour == pytest.approx(per_hour, abs=3)
    assert trend.low < trend.per_hour < trend.high
    assert trend.verdict == verdict


def test_what_is_too_short_to_tell() -> None:
    assert fit_trend(TIMES[:5], [1.0, 2.0, 3.0, 4.0, 5.0], 1).verdict == "too short to tell"
    few = fit_trend(TIMES[:10], list(100 + noise(2, 5)[:10]), 10)
    assert few.verdict == "too short to tell"
