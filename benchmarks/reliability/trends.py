"""Does a figure grow? A line through its samples, with an interval, and a limit on its growth."""

from collections.abc import Sequence
from dataclasses import dataclass
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


def fit_trend(times_s: Sequence[float], values: Sequence[float], limit: float) -> Trend:
    """Draw the line through a figure's samples; with few of them its interval is without bounds."""
    if len(values) < _LEAST:
        ends = (values[0], values[-1]) if values else (0.0, 0.0)
        return Trend(*ends, 0.0, -float("inf"), float("inf"), limit)
    slope, _, low, high = (float(x) * _HOUR_S for x in theilslopes(values, times_s, alpha=0.95))
    return Trend(values[0], values[-1], slope, low, high, limit)
