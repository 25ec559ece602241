"""Figures and intervals against the literature, scikit-learn and plain simulation."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from report.intervals import Ints
from training.evaluation.measure import reliability, score

RNG = np.random.default_rng(0)


def test_the_figures_are_those_of_scikit_learn() -> None:
    """Class 3 has no photo, class 4 is never answered."""
    truth = RNG.choice([0, 1, 2, 4], 200)
    predicted = np.where(RNG.random(200) < 0.7, truth, RNG.integers(0, 4, 200))
    predicted[predicted == 4] = 3
    found = score(truth, predicted, np.arange(200), "abcde")
    labels = range(5)
    expected = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0.0)
    rows, present = list(found.per_class.values()), [0, 1, 2, 4]
    assert (list(found.per_class), found.absent) == ([*"abce"], ["d"])  # nothing is known of d
    assert [row.precision for row in rows] == pytest.approx(expected[0][present])
    assert [row.recall for row in rows] == pytest.approx(expected[1][present])
    assert [row.f1 for row in rows] == pytest.approx(expected[2][present])
    assert found.macro_f1 == pytest.approx(expected[2][present].mean())
    assert [row.photos for row in rows] == expected[3][present].tolist()
    assert found.confusion == confusion_matrix(truth, predicted, labels=labels).tolist()
    assert found.accuracy == (truth == predicted).mean()
    for label, row in zip(present, rows, strict=True):
        assert row.accuracy == ((truth == label) == (predicted == label)).mean()


def test_all_right_is_not_certain() -> None:
    """Twelve photos in three groups say as much as three photos."""
    truth = np.arange(12) % 2
    found = score(truth, truth, np.arange(12) // 4, "ab")
    three = score(np.zeros(3, np.int64), np.zeros(3, np.int64), np.arange(3), "ab")
    assert found.accuracy_95 == found.per_class["a"].f1_95 == pytest.approx(three.accuracy_95)
    assert found.accuracy_95[0] < 0.5


def draw(rng: np.random.Generator, clips: int) -> tuple[Ints, Ints, Ints]:
    """Clips of 4 to 12 frames of three classes, right together (intraclass correlation 0.3)."""
    groups = np.repeat(np.arange(clips), rng.integers(4, 13, clips))
    share, precision = np.array([0.8, 0.9, 0.95])[np.arange(clips) % 3], 0.7 / 0.3
    rates = rng.beta(precision * share, precision * (1 - share))
    truth = groups % 3
    right = rng.random(len(groups)) < rates[groups]
    return truth, np.where(right, truth, (truth + 1 + (rng.random(len(groups)) < 0.3)) % 3), groups


@pytest.mark.parametrize("clips", [9, 30, 90])
def test_every_interval_holds_the_truth(clips: int) -> None:
    rng = np.random.default_rng(clips)
    truth = score(*draw(rng, 30_000), "abc")
    parts = ("precision", "recall", "f1", "accuracy")
    held: dict[str, list[bool]] = {}
    for _ in range(200):
        found = score(*draw(rng, clips), "abc")
        pairs = [("accuracy", found, truth), ("macro_f1", found, truth)]
        pairs += [(part, found.per_class["a"], truth.per_class["a"]) for part in parts]
        for number, (name, own, true) in enumerate(pairs):
            low, high = getattr(own, f"{name}_95")
            held.setdefault(f"{number} {name}", []).append(low <= getattr(true, name) <= high)
    assert {name for name, rows in held.items() if np.mean(rows) < 0.94} == set()


def test_the_interval_of_the_mean_f1_is_no_wider_than_it_must_be() -> None:
    """With many groups it is that of drawing them again and again."""
    rng = np.random.default_rng(3)
    truth, predicted, groups = draw(rng, 300)
    members = np.split(np.arange(len(groups)), np.flatnonzero(np.diff(groups)) + 1)
    drawn = []
    for _ in range(600):
        own = np.concatenate([members[i] for i in rng.integers(0, 300, 300)])
        drawn.append(precision_recall_fscore_support(truth[own], predicted[own], average="macro")[2])
    expected = np.percentile(drawn, (2.5, 97.5))
    assert score(truth, predicted, groups, "abc").macro_f1_95 == pytest.approx(expected, abs=0.008)


def test_calibration_error_as_guo_defines_it() -> None:
    """Two bins hold photos: 0.9 confident and 3 of 4 right, 0.6 confident and 2 of 2."""
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    truth = np.array([0, 0, 0, 1, 0, 0])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    found = reliability(probabilities, truth)
    assert found.ece == pytest.approx(4 / 6 * 0.15 + 2 / 6 * 0.4)
    assert [(b.photos, b.accuracy) for b in found.bins if b.photos] == [(2, 1.0), (4, 0.75)]
    assert found.nll == pytest.approx(log_loss(truth, probabilities))


@pytest.mark.parametrize(("confidence", "number"), [(1.0, 14), (0.6, 8), (0.6001, 9)])
def test_a_bin_holds_its_upper_edge(confidence: float, number: int) -> None:
    found = reliability(np.array([[confidence, 1 - confidence]]), np.array([0]))
    assert [i for i, b in enumerate(found.bins) if b.photos] == [number]
