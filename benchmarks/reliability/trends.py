"""Does a figure grow? A line through its samples, with an interval, and a limit on its growth."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from scipy.stats import theilslopes

_HOUR_S = 3600.0
_LEAST = 8  # samples


@dataclass(frozen=True)
class Trend:
    """The growth of one figure.

    Attributes:
        per_hour: median of the slopes between any two samples (Theil 1950, Sen 1968), which a few
            outliers don't move.
        low: end of its 95 % interval, for samples that are independent of each other.
        high: the other end.
        limit: growth in an hour that is allowed.
    """

    first: float
    last: float
    per_hour: float
    low: float
    high: float
    limit: float

    @property
    def verdict(self) -> Literal["holds", "grows", "too short to tell"]:
        """What the interval says of the limit."""
        if self.low > self.limit:
            return "grows"
        return "holds" if self.high <= self.limit else "too short to tell"

    def to_json(self) -> dict[str, float | str | None]:
        """Return all of it; an interval without bounds, which JSON doesn't know, has none."""
        ends = {"low": self.low, "high": self.high}
        bounded = {name: end if math.isfinite(end) else None for name, end in ends.items()}
        return {**asdict(self), **bounded, "verdict": self.verdict}


def fit_trend(times_s: Sequence[float], values: Sequence[float], limit: float) -> Trend:
    """Draw the line through a figure's samples; with few of them its interval is without bounds."""
    if len(values) < _LEAST:
        ends = (values[0], values[-1]) if values else (0.0, 0.0)
        return Trend(*ends, 0.0, -float("inf"), float("inf"), limit)
    slope, _, low, high = (float(x) * _HOUR_S for x in theilslopes(values, times_s, alpha=0.95))
    return Trend(values[0], values[-1], slope, low, high, limit)
