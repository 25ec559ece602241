"""The change from one model to another on the same labelled photos: interval, test, verdict.

Only the photos count for which one is right and the other wrong: `gained` and `lost` by the new model.
The difference in accuracy has a 95 % interval, and that gives the verdict:

    better      the interval lies above 0
    not worse   the interval lies above -margin
    worse       the interval lies below 0
    can't tell  anything else; then it is estimated how many more photos would

The interval is over groups (`report.intervals`), as the frames of a clip are right or wrong together.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtri, stdtrit

from report.intervals import ALPHA, CHANGE, Interval, Ints, estimate, mean_interval, sum_groups

BETTER, NOT_WORSE, WORSE, UNCLEAR = "better", "not worse", "worse", "can't tell"
_POWER = 0.9  # that so many more photos give a verdict, if the difference is as it was seen
_MOST = 1e7  # times as many groups; beyond that no number is given


@dataclass(frozen=True)
class Change:
    """What changes from the old model to the new one on some photos.

    Attributes:
        photos: how many.
        groups: that they are of.
        new: share that the new model answers rightly.
        old: share that the old model does.
        gained: photos that the new model alone answers rightly.
        lost: photos that the old model alone does.
        difference: `new` less `old`.
        interval: of `difference`, 95 %; wider for a class, so that those of all classes hold together.
        mcnemar: two-sided exact p-value of `gained` and `lost` if each were as likely, taking each
            photo for independent (McNemar, Psychometrika 12, 1947; exact: Liddell, J. Epidemiology and
            Community Health 37, 1983).
    """

    photos: int
    groups: int
    new: float
    old: float
    gained: int
    lost: int
    difference: float
    interval: Interval
    mcnemar: float


def measure_change(
    new: npt.NDArray[np.bool_], old: npt.NDArray[np.bool_], groups: Ints, alpha: float = ALPHA
) -> Change:
    """Compare (photos,) rightly answered by either; the interval holds with 1 - `alpha`."""
    sizes, net = sum_groups(new.astype(float) - old, groups)
    gained, lost = int((new & ~old).sum()), int((old & ~new).sum())
    shares = float(new.mean()), float(old.mean())
    interval = mean_interval(sizes, net, CHANGE, (-1.0, 1.0), alpha)
    p = mcnemar(gained, lost)
    return Change(len(new), len(sizes), *shares, gained, lost, shares[0] - shares[1], interval, p)


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided exact p-value of McNemar's test: a fair coin's, thrown for each of them."""
    return float(min(1.0, 2 * bdtr(min(gained, lost), gained + lost, 0.5)))


def verdict_of(change: Change, margin: float) -> str:
    """Say the verdict on a change."""
    low, high = change.interval
    if low > 0:
        return BETTER
    if low > -margin:
        return NOT_WORSE
    return WORSE if high < 0 else UNCLEAR


def more_groups(new: Any, old: Any, groups: Ints, margin: float) -> float | None:
    """Estimate how many more groups give a verdict with `_POWER`, if the difference stays as it is.

    The usual sample size (Connor, "Sample size for testing differences in proportions for the
    paired-sample design", Biometrics 43, 1987), with the error as it is between these groups: the
    difference must be t + z standard errors from where the nearest verdict begins, 0 for "worse" and
    -margin for "not worse".
    """
    sizes, net = sum_groups(new.astype(float) - old, groups)
    difference = float(net.sum() / sizes.sum())
    distance = max(difference + margin, -difference)
    if len(sizes) < 2 or distance <= 0:
        return None

    def enough(times: float) -> bool:
        quantiles = stdtrit(times * len(sizes) - 1, 1 - ALPHA / 2) + ndtri(_POWER)
        return bool(quantiles * estimate(sizes, net, CHANGE, times)[1] <= distance)

    low, high = 1.0, 2.0
    while not enough(high):
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while high - low > 0.01 * low:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return (high - 1) * len(sizes)
