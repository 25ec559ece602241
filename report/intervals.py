"""The interval of a share over groups of photos, and of the mean of anything else.

Photos of one group, such as the frames of a clip, are right or wrong together, so groups count and not
photos: the error is the ratio estimator's between groups, and the quantile Student's with one degree of
freedom less than groups (Cameron and Miller, "A Practitioner's Guide to Cluster-Robust Inference",
J. Human Resources 50, 2015). Alone that is too sure of few groups, or of a share near 0 or 1: groups
that happen to be all right say nothing of how far others are apart. Two more groups of the usual size,
which nobody saw, make up for that. `SHARE` adds one all right and one all wrong (Agresti and Caffo, The
American Statistician 54, 2000, add such a success and failure to a sample), `CHANGE` half a group in
each cell of the two-by-two table of a paired difference (Agresti and Min, Statistics in Medicine 24,
2005). How often such intervals hold, and a bootstrap's don't, is in docs/experiments.md.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]
Added = Sequence[tuple[float, float]]  # groups that are added, how many of which mean

ALPHA = 0.05
SHARE: Added = ((1, 1), (1, 0))
CHANGE: Added = ((0.5, 1), (0.5, -1), (1, 0))


def sum_groups(values: Any, groups: Ints) -> tuple[Floats, Floats]:
    """Each group's photos and the sum of their (photos,) values: two of (groups,)."""
    _, numbers = np.unique(groups, return_inverse=True)
    return np.bincount(numbers).astype(float), np.bincount(numbers, values).astype(float)


def mean_interval(
    sizes: Floats, sums: Floats, added: Added = (), limits: Interval = (-math.inf, math.inf),
    alpha: float = ALPHA,
) -> Interval:  # fmt: skip
    """Return the interval that holds the mean of a photo with 1 - `alpha`.

    Args:
        sizes: (groups,) photos of each group, or whatever the mean is over.
        sums: (groups,) sum of the values of its photos.
        added: `SHARE` or `CHANGE`; nothing for values that have no limits.
        limits: of the values; with fewer than two groups nothing else is known.
        alpha: how often the mean may lie outside.
    """
    own = sizes > 0
    sizes, sums = sizes[own], sums[own]
    if len(sizes) < 2:
        return limits
    centre, error = estimate(sizes, sums, added)
    reach = float(stdtrit(len(sizes) - 1, 1 - alpha / 2)) * error
    return max(limits[0], centre - reach), min(limits[1], centre + reach)


def estimate(sizes: Floats, sums: Floats, added: Added, times: float = 1) -> tuple[float, float]:
    """The interval's centre and standard error, if there were `times` as many groups like these."""
    count, size = len(sizes), float(sizes.mean())
    total = size * (times * count + sum(n for n, _ in added))
    centre = float(times * sums.sum() + size * sum(n * mean for n, mean in added)) / total
    apart = times * float(((sums - centre * sizes) ** 2).sum()) * count / (count - 1)
    apart += size**2 * sum(n * (mean - centre) ** 2 for n, mean in added)
    return centre, math.sqrt(apart) / total
