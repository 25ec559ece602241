"""Labels planted wrong: which ones, and figures that tell a good ranking from a bad one."""

import numpy as np
import pytest

from benchmarks.training.planted import GROUPS, PHOTOS, judge, plant, swapped
from model.errors import InputError


def test_as_many_as_asked_get_the_label_of_the_other_class() -> None:
    labels = np.repeat([0, 1, 2, 3], 25)
    groups = np.arange(100) // 5
    other = swapped(
        ["airplane", "bird", "drone", "helicopter"], [("bird", "drone"), ("helicopter", "airplane")]
    )
    assert other.tolist() == [3, 2, 1, 0]
    planted, wrong = plant(labels, groups, other, 0.1, PHOTOS, 0)
    assert wrong.sum() == 10
    assert (planted[wrong] == other[labels[wrong]]).all()
    assert (planted[~wrong] == labels[~wrong]).all()
    _, wrong = plant(labels, groups, other, 0.1, GROUPS, 0)
    assert np.unique(groups[wrong]).size == 2
    assert wrong.sum() == 10


def test_photos_that_look_like_the_other_class_are_found() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 60)
    features = np.abs(rng.normal(0, 1, (120, 16))).astype(np.float32)
    features[:, 0] += 6 * truth
    labels, wrong = plant(truth, np.arange(120), np.array([1, 0]), 0.1, PHOTOS, 0)
    figures, first, suggested = judge(features, labels, np.arange(120), wrong)
    assert figures["auroc"] > 0.99
    assert sorted(first.tolist()) == np.flatnonzero(wrong).tolist()
    assert figures["found"] == 1
    assert (suggested[first] == truth[first]).all()


@pytest.mark.parametrize("pairs", [[("bird", "drone")], [("bird", "drone"), ("bird", "plane")]])
def test_each_class_is_swapped_once(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(InputError, match="each class must be in one pair: bird, drone, plane, x"):
        swapped(["bird", "drone", "plane", "x"], pairs)
