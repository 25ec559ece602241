"""Percentiles of latencies: one definition for every figure that is printed, drawn or judged."""

import math
from collections.abc import Iterable


def percentile(values: Iterable[float], share: float) -> float:
    """Take the nearest rank: the smallest value that `share` of the sample don't exceed; 0.0 of none.

    So it is a value that was measured, and the p99 of fewer than 100 is the largest of them.
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
