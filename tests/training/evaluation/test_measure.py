"""Figures and intervals against the literature, scikit-learn and plain simulation."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from training.evaluation.measure import reliability, score, wilson

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (81, 263, 0.2553, 0.3662),  # Newcombe, "Two-sided confidence intervals", 1998, table I
    ],
)
def test_wilson(right: int, of: int, low: float, high: float) -> None:
    assert wilson(right, of) == pytest.approx((low, high), abs=5e-5)


def test_the_figures_are_those_of_scikit_learn() -> None:
    """Class 3 has no photo, class 4 is never answered."""
    truth = RNG.choice([0, 1, 2, 4], 200)
    predicted = np.where(RNG.random(200) < 0.7, truth, RNG.integers(0, 4, 200))
    predicted[predicted == 4] = 3
    found = score(truth, predicted, np.arange(200), "abcde")
    labels = range(5)
    expected = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0.0)
    rows = list(found.per_class.values())
    assert [row.precision for row in rows] == pytest.approx(expected[0])
    assert [row.recall for row in rows] == pytest.approx(expected[1])
    assert [row.f1 for row in rows] == pytest.approx(expected[2])
    assert [row.photos for row in rows] == expected[3].tolist()
    assert found.confusion == confusion_matrix(truth, predicted, labels=labels).tolist()
    assert found.accuracy == (truth == predicted).mean()
    for label, row in enumerate(rows):
        assert row.accuracy == ((truth == label) == (predicted == label)).mean()
    assert rows[3].recall_95 == (0.0, 1.0)  # nothing is known of it


def test_without_groups_the_interval_is_about_the_binomials() -> None:
    truth = np.zeros(400, np.int64)
    predicted = (np.arange(400) < 80).astype(np.int64)  # 0.8 right
    low, high = score(truth, predicted, np.arange(400), "ab").accuracy_95
    assert (low, high) == pytest.approx(wilson(320, 400), abs=0.01)


def test_photos_that_are_right_or_wrong_together_make_it_wider() -> None:
    """Ten groups of 40, two of them all wrong: as sure as of 8 in 10, not of 320 in 400."""
    truth = np.zeros(400, np.int64)
    predicted = (np.arange(400) < 80).astype(np.int64)
    found = score(truth, predicted, np.arange(400) // 40, "ab")
    draws = np.random.default_rng(1).binomial(10, 0.8, 20_000) / 10
    assert found.accuracy_95 == pytest.approx(tuple(np.percentile(draws, (2.5, 97.5))), abs=1e-9)
    assert found.accuracy == 0.8


def test_intervals_are_those_of_drawing_groups_one_by_one() -> None:
    groups = np.sort(RNG.integers(0, 25, 300))
    truth = (groups + RNG.integers(0, 2, 300)) % 3
    predicted = np.where(RNG.random(300) < 0.4 + 0.6 * (groups % 2), truth, (truth + 1) % 3)
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    drawn = []
    for _ in range(3000):
        own = np.concatenate([members[i] for i in RNG.integers(0, len(members), len(members))])
        f1 = precision_recall_fscore_support(truth[own], predicted[own], average=None)[2]
        drawn.append([np.mean(truth[own] == predicted[own]), f1[0], f1.mean()])
    expected = np.percentile(drawn, (2.5, 97.5), axis=0).T
    numbered = np.unique(groups, return_inverse=True)[1]
    found = score(truth, predicted, numbered, "abc")
    assert found.accuracy_95 == pytest.approx(expected[0], abs=0.02)
    assert found.per_class["a"].f1_95 == pytest.approx(expected[1], abs=0.03)
    assert found.macro_f1_95 == pytest.approx(expected[2], abs=0.02)


def test_all_right_is_not_certain() -> None:
    """Twelve photos in three groups say as much as three."""
    truth = np.arange(12) % 2
    found = score(truth, truth, np.arange(12) // 4, "ab")
    assert found.accuracy_95 == found.per_class["a"].f1_95 == wilson(3, 3)


def test_the_seed_decides_the_intervals() -> None:
    truth, predicted = RNG.integers(0, 3, 90), RNG.integers(0, 3, 90)
    first, again, other = (
        score(truth, predicted, np.arange(90) // 3, "abc", seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first.accuracy_95 != other.accuracy_95


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
