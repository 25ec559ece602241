"""The ranking, on features that are made: exact where there is a formula, found where it is planted."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from training.suspects import left_out
from training.suspects.evidence import weigh
from training.suspects.left_out import find_axes, measure_strangeness, root, score_left_out

CLASSES, GROUPS, SIZE, WIDTH = 3, 60, 5, 12


def made(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and groups: photos of a group are alike, groups of a class a little."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(GROUPS), SIZE)
    labels = groups % CLASSES
    centres = rng.normal(0, 1, (CLASSES, WIDTH))[labels] + rng.normal(0, 0.8, (GROUPS, WIDTH))[groups]
    features = 9 + centres + rng.normal(0, 0.3, (len(groups), WIDTH))
    return (features**2).astype(np.float32), labels, groups


@pytest.mark.parametrize("rows", [7, 4096])
def test_scores_are_those_of_a_model_that_never_saw_the_group(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left_out, "ROWS", rows)  # groups in blocks of any size
    features, labels, groups = made()
    groups = np.where(groups < 6, 0, groups - 5)  # one has more photos than there are features
    basis = find_axes(features)
    scores = score_left_out(features, basis, labels, groups)
    scaled = (root(features) - basis.mean) / basis.deviation
    wanted = np.eye(CLASSES)[labels] - np.eye(CLASSES)[labels].mean(axis=0)
    for group in (0, 1, 30):
        rest, own = groups != group, groups == group
        for strength, found in zip(left_out.STRENGTHS, scores, strict=True):
            penalty = strength * len(labels) * np.eye(WIDTH)
            inner = scaled[rest].T @ scaled[rest] + penalty
            weights = np.linalg.solve(inner, scaled[rest].T @ wanted[rest])
            np.testing.assert_allclose(found[own], scaled[own] @ weights, atol=1e-6)


def rank(labels: np.ndarray, features: np.ndarray, groups: np.ndarray) -> np.ndarray:
    basis = find_axes(features)
    return weigh(score_left_out(features, basis, labels, groups), labels, groups).margin


def test_wrong_photos_and_wrong_groups_come_first() -> None:
    features, labels, groups = made()
    for wrong in (np.arange(0, 300, 17), np.flatnonzero(np.isin(groups, (4, 20, 41)))):
        given = labels.copy()
        given[wrong] = (labels[wrong] + 1) % CLASSES
        found = weigh(score_left_out(features, find_axes(features), given, groups), given, groups)
        first = np.argsort(-found.margin)[: len(wrong)]
        assert len({*first.tolist()} & {*wrong.tolist()}) >= 0.8 * len(wrong)
        assert (found.suggested[wrong] == labels[wrong]).mean() >= 0.8
        assert 0.3 * len(wrong) <= found.likely_wrong <= 2 * len(wrong)


def test_labels_of_a_group_count_only_where_groups_agree() -> None:
    """A day has photos of all classes: that its others are of another class says nothing."""
    features, labels, _ = made()
    days = np.random.default_rng(1).integers(0, 30, len(labels))
    alone = np.arange(len(labels))
    assert spearmanr(rank(labels, features, days), rank(labels, features, alone)).statistic > 0.9


def test_a_class_that_others_do_not_have_is_not_judged() -> None:
    features, labels, groups = made()
    given = np.where(groups == 7, CLASSES, labels)  # a class in one group
    given[[0, 50]] = CLASSES + 1  # and one of two photos
    found = weigh(score_left_out(features, find_axes(features), given, groups), given, groups)
    assert found.unjudged.tolist() == (given >= CLASSES).tolist()
    assert np.isneginf(found.margin[given >= CLASSES]).all()


def test_a_photo_of_no_class_is_the_strangest() -> None:
    features, labels, _ = made()
    features[123] = features[123][::-1] * 2
    assert measure_strangeness(features, find_axes(features), labels).argmax() == 123
