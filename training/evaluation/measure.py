"""Figures with intervals (`report.intervals`), from labels and probabilities alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from report.intervals import SHARE, Floats, Interval, Ints, mean_interval

BINS = 15  # of confidence, as in Guo et al.


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
    """What is known of each class and of all, with 95 % intervals.

    `per_class` has the classes that have photos, and `macro_f1` is their mean: nothing can be said of
    the others. `confusion` has a row for each of `classes`, and a column for each answer.
    """

    accuracy: float
    accuracy_95: Interval
    macro_f1: float
    macro_f1_95: Interval
    per_class: dict[str, ClassScores]
    confusion: list[list[int]]
    classes: tuple[str, ...]

    @property
    def absent(self) -> list[str]:
        """Name the classes without photos."""
        return [name for name in self.classes if name not in self.per_class]


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


def score(truth: Ints, predicted: Ints, groups: Ints, classes: Sequence[str]) -> Scores:
    """Score (photos,) predictions against labels; `groups` numbers each photo's group from 0."""
    right, actual, answered = np.moveaxis(_tally(truth, predicted, groups, len(classes)), 1, 0)
    photos = actual.sum(axis=1)  # (groups,); the three above are (groups, classes)
    both = actual + answered
    # What each share of a class is of, and how much of that is right.
    parts = {"precision": (answered, right), "recall": (actual, right), "f1": (both, 2 * right)}
    parts["accuracy"] = (np.repeat(photos[:, None], len(classes), 1), photos[:, None] - both + 2 * right)
    rows = {}
    present = np.flatnonzero(actual.sum(axis=0))
    for label in present.tolist():
        shares: dict[str, Any] = {}
        for part, (of, own) in parts.items():
            shares |= _share(part, of[:, label], own[:, label])
        rows[classes[label]] = ClassScores(photos=int((truth == label).sum()), **shares)
    return Scores(
        **_share("accuracy", photos, right.sum(axis=1)),
        **_share("macro_f1", photos, _macro_f1(photos, both[:, present], 2 * right[:, present])),
        per_class=rows,
        confusion=confusion_matrix(truth, predicted, labels=range(len(classes))).tolist(),
        classes=tuple(classes),
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


def _tally(truth: Ints, predicted: Ints, groups: Ints, n_classes: int) -> Floats:
    """Count in each group, for each class: answered rightly, of the class, answered as it."""
    tally = np.zeros((int(groups.max()) + 1, 3, n_classes))
    right = truth == predicted
    np.add.at(tally[:, 0], (groups[right], truth[right]), 1)
    np.add.at(tally[:, 1], (groups, truth), 1)
    np.add.at(tally[:, 2], (groups, predicted), 1)
    return tally


def _share(name: str, of: Floats, right: Floats) -> dict[str, Any]:
    """A share, 0 if it can't be computed, and its interval."""
    value = float(right.sum() / max(of.sum(), 1))
    return {name: value, f"{name}_95": mean_interval(of, right, SHARE, (0.0, 1.0))}


def _macro_f1(photos: Floats, of: Floats, right: Floats) -> Floats:
    """(groups,) sums whose share of `photos` is the mean F1, and whose spread is its spread.

    The mean of ratios is linearised, each group counts with what it moves (the delta method; Särndal,
    Swensson and Wretman, "Model Assisted Survey Sampling", 1992, section 5.5).
    """
    f1 = right.sum(axis=0) / of.sum(axis=0)
    moved = ((right - f1 * of) / of.sum(axis=0)).mean(axis=1)
    return np.asarray(photos * f1.mean() + photos.sum() * moved)
