"""Figures with intervals, from labels and probabilities alone.

Intervals are percentiles of a bootstrap over groups (Efron and Tibshirani, "An Introduction to the
Bootstrap", 1993, chapters 8 and 13): whole groups are drawn, as their photos are alike. Where every
resample gives the same, as when everything is right, it can't tell how sure that is; the interval is
then Wilson's for the share, over the number of groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

RESAMPLES = 2000
BINS = 15  # of confidence, as in Guo et al.
_AT_ONCE = 200  # resamples; bounds the memory


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """Shares with their 95 % intervals; one that can't be computed is 0, as scikit-learn has it.

    `accuracy` is the share of all photos that the class is rightly said, or not said, of.
    """

    photos: int
    precision: float
    precision_95: Interval
    recall: float
    recall_95: Interval
    f1: float
    f1_95: Interval
    accuracy: float
    accuracy_95: Interval


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What is known of each class and of all, with 95 % intervals."""

    accuracy: float
    accuracy_95: Interval
    macro_f1: float
    macro_f1_95: Interval
    per_class: dict[str, ClassScores]
    confusion: list[list[int]]  # a row for each true class, a column for each answer


@dataclass(frozen=True)
class Bin:
    """The photos whose confidence lies in (low, high]."""

    low: float
    high: float
    photos: int
    confidence: float  # mean; 0 without photos
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """Whether confidence is what it says.

    `ece` is the expected calibration error over `BINS` bins, `nll` the mean negative log-likelihood
    (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2).
    """

    ece: float
    nll: float
    bins: tuple[Bin, ...]


def score(truth: Ints, predicted: Ints, groups: Ints, classes: Sequence[str], seed: int = 0) -> Scores:
    """Score (photos,) predictions against labels; `groups` numbers each photo's group from 0."""
    tally = _tally(truth, predicted, groups, len(classes))  # (groups, 3, classes)
    point, spread = _shares(tally.sum(axis=0)), _resample(tally, seed)
    _, actual, answered = np.moveaxis(tally > 0, 1, 0)  # (groups, classes)
    # The groups that each share of a class is taken over.
    over = {"precision": answered, "recall": actual, "f1": actual | answered}
    over["accuracy"] = np.ones_like(actual)

    def share(name: str, n_groups: int, *label: int, of: str = "") -> dict[str, Any]:
        value = float(np.nan_to_num(point[of or name][label]))
        return {name: value, f"{name}_95": _interval(spread[of or name][label], value, n_groups)}

    def scores_of(label: int) -> ClassScores:
        shares: dict[str, Any] = {}
        for name, own in over.items():
            shares |= share(name, int(own[:, label].sum()), label)
        return ClassScores(photos=int((truth == label).sum()), **shares)

    return Scores(
        **share("accuracy", len(tally), of="overall"),
        **share("macro_f1", len(tally)),
        per_class={name: scores_of(label) for label, name in enumerate(classes)},
        confusion=confusion_matrix(truth, predicted, labels=range(len(classes))).tolist(),
    )


def reliability(probabilities: Floats, truth: Ints) -> Reliability:
    """Measure (photos, classes) probabilities against (photos,) labels."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    photos = np.bincount(place, minlength=BINS)
    mean, share = (np.bincount(place, v, BINS) / np.maximum(photos, 1) for v in (confidence, right))
    edges = np.arange(BINS + 1) / BINS
    columns = (edges[:-1], edges[1:], photos, mean, share)
    bins = tuple(Bin(*row) for row in zip(*(column.tolist() for column in columns), strict=True))
    error = float(photos @ np.abs(mean - share)) / len(truth)
    of_truth = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    nll = float(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean())
    return Reliability(error, nll, bins)


def wilson(right: float, of: float, z: float = 1.96) -> Interval:
    """Return the 95 % score interval of a share (Wilson, 1927)."""
    share = right / of
    centre = share + z * z / (2 * of)
    spread = z * float(np.sqrt(share * (1 - share) / of + z * z / (4 * of * of)))
    scale = 1 + z * z / of
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def _tally(truth: Ints, predicted: Ints, groups: Ints, n_classes: int) -> Floats:
    """Count in each group, for each class: answered rightly, of the class, answered as it."""
    tally = np.zeros((int(groups.max()) + 1, 3, n_classes))
    right = truth == predicted
    np.add.at(tally[:, 0], (groups[right], truth[right]), 1)
    np.add.at(tally[:, 1], (groups, truth), 1)
    np.add.at(tally[:, 2], (groups, predicted), 1)
    return tally


def _shares(tally: Floats) -> dict[str, Floats]:
    """(..., 3, classes) counts -> (..., classes) for each share of a class, (...) for the two of all.

    What can't be computed, such as the recall of a class without photos, is NaN.
    """
    right, actual, answered = np.moveaxis(tally, -2, 0)
    total = actual.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2 * right / (actual + answered)
        known = ~np.isnan(f1)
        return {
            "precision": right / answered,
            "recall": right / actual,
            "f1": f1,
            "accuracy": (total - actual - answered + 2 * right) / total,
            "overall": right.sum(axis=-1) / total[..., 0],
            "macro_f1": np.where(known, f1, 0).sum(axis=-1) / known.sum(axis=-1),
        }


def _resample(tally: Floats, seed: int) -> dict[str, Floats]:
    """Draw groups with replacement; `_shares` of each draw, (classes, `RESAMPLES`) or (`RESAMPLES`,).

    Groups with the same counts are drawn together: photos without groups are of few kinds, however
    many they are.
    """
    rng = np.random.default_rng(seed)
    kinds, counts = np.unique(tally.reshape(len(tally), -1), axis=0, return_counts=True)
    parts = []
    for _ in range(0, RESAMPLES, _AT_ONCE):
        times = rng.multinomial(len(tally), counts / len(tally), size=_AT_ONCE)  # (resamples, kinds)
        parts.append(_shares((times @ kinds).reshape(_AT_ONCE, *tally.shape[1:])))
    return {name: np.concatenate([part[name] for part in parts]).T for name in parts[0]}


def _interval(values: Floats, share: float, groups: int) -> Interval:
    values = values[~np.isnan(values)]
    if not groups or not len(values):
        return 0.0, 1.0
    low, high = np.percentile(values, (2.5, 97.5))
    return wilson(share * groups, groups) if low == high else (float(low), float(high))
