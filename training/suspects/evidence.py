"""What speaks for each class of each photo: its look, that of its group, and the labels of its group.

The looks are judged by models that haven't seen the group (`left_out`). What the group's other photos
look like and are called counts as much as labels agree within groups at all: that is one number, fitted
to the data, so the same rule serves clips, whose photos are all of one class, and days or places, whose
aren't.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from report.intervals import Floats, Ints

OWN_LOOK, GROUP_LOOK = 0.5, 1.0  # weights; docs/experiments.md has those tried
SURE = 0.9  # confidence in another class that always counts against a label
FEW = 3  # photos of a class outside a group, without which a model can't know it
_AGREEMENT = np.geomspace(0.05, 1e4, 40)  # tried of Polya's urn; the last is no agreement at all
_LEAST = 1e-9

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Evidence:
    """(N,) log-odds of another class against the label, and that class: what is `suggested`.

    `likely_wrong` is how many labels are, by an estimate. `unjudged` photos have a class that hardly
    exists outside their group.
    """

    margin: Floats
    suggested: Ints
    likely_wrong: int
    unjudged: Flags


def weigh(scores: list[Floats], labels: Ints, groups: Ints) -> Evidence:
    """Weigh what models without a photo's group say with what its group says.

    Args:
        scores: (N, classes) of `left_out`, for several strengths; the likeliest is taken.
        labels: (N,) as given.
        groups: (N,) numbers of groups, from 0 without gaps.
    """
    looks = max((as_log_odds(s, labels) for s in scores), key=lambda p: _likelihood(p, labels))
    sizes = np.bincount(groups)[groups][:, None]  # (N, 1)
    total = np.zeros((groups.max() + 1, looks.shape[1]))
    np.add.at(total, groups, looks)
    others = (total[groups] - looks) / np.maximum(sizes - 1, 1)
    from_labels, agreement = _from_labels(labels, groups)
    support = OWN_LOOK * looks + GROUP_LOOK * agreement * others + from_labels
    inside = _count_labels(labels, groups)[groups]
    unknown = np.bincount(labels) - inside < FEW  # (N, classes): can't be told from outside
    place = np.arange(len(labels))
    against = np.where(unknown, -np.inf, support)
    against[place, labels] = -np.inf
    suggested = against.argmax(axis=1)
    unjudged = unknown[place, labels] | np.isneginf(against[place, suggested])
    margin = np.where(unjudged, -np.inf, against[place, suggested] - support[place, labels])
    # Photos that contradict their group, and then groups whose looks contradict what they are called.
    alone = _confidently_other(support, labels) & ~unjudged
    mended = np.where(alone, suggested, labels)
    whole = agreement * total[groups] / sizes + (1 - agreement) * looks
    together = _confidently_other(whole, mended) & ~unjudged
    return Evidence(margin, suggested, int((alone | together).sum()), unjudged)


def _confidently_other(logs: Floats, labels: Ints) -> Flags:
    """Tell which photos reach the mean confidence of another class, and that more than their own's.

    What is off the diagonal of the confident joint: Northcutt, Jiang and Chuang, "Confident Learning:
    Estimating Uncertainty in Dataset Labels", JAIR 70, 2021, equation 1.
    """
    likely = softmax(logs, axis=1)
    own = likely[np.arange(len(labels)), labels]
    photos = np.bincount(labels, minlength=likely.shape[1])
    threshold = np.bincount(labels, own, likely.shape[1]) / np.maximum(photos, 1)
    threshold = np.minimum(threshold, SURE)
    sure = np.where((likely >= threshold) & (photos > 0), likely, -1)
    return np.asarray((sure.max(axis=1) >= 0) & (sure.argmax(axis=1) != labels))


def as_log_odds(scores: Floats, labels: Ints) -> Floats:
    """Turn scores into log-probabilities, at the temperature that suits the labels best."""

    def loss(log_scale: float) -> float:
        return -_likelihood(log_softmax(scores * np.exp(log_scale), axis=1), labels)

    best = minimize_scalar(loss, bounds=(-2.0, 4.0), method="bounded").x
    return np.asarray(np.maximum(log_softmax(scores * np.exp(best), axis=1), np.log(_LEAST)))


def _likelihood(logs: Floats, labels: Ints) -> float:
    return float(logs[np.arange(len(labels)), labels].mean())


def _count_labels(labels: Ints, groups: Ints) -> Floats:
    counts = np.zeros((groups.max() + 1, labels.max() + 1))
    np.add.at(counts, (groups, labels), 1)
    return counts


def _from_labels(labels: Ints, groups: Ints) -> tuple[Floats, float]:
    """(N, classes) log-odds of a photo's class from the labels of its group's other photos.

    And how much groups agree, from 0 to 1.

    Polya's urn: the chance of a label is (others of the group that have it + a p) / (others + a), p its
    share among all photos. What a fits the labels best is how little groups agree.
    """
    share = np.bincount(labels) / len(labels)
    counts = _count_labels(labels, groups)[groups]
    counts[np.arange(len(labels)), labels] -= 1
    others = counts.sum(axis=1, keepdims=True)

    def urn(agreement: float) -> Floats:
        return np.asarray(np.log((counts + agreement * share + 1e-12) / (others + agreement)))

    best = max(_AGREEMENT, key=lambda a: _likelihood(urn(a), labels))
    return urn(best) - np.log(np.maximum(share, 1e-12)), float(1 / (1 + best))
